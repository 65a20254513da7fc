// A policy to time, as text: name:key=value,key=value.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "cuda/step/decode_step.h"

namespace doublep::bench {

struct Spec {
  std::string text, policy;
  std::map<std::string, std::string> values;
  bool clustered = false;  ///< runs on the cache in cluster order
  cuda::StepOptions options;
  double kept = 0, refined = 0;  ///< kCount: shares (below 1) or numbers of items; twilight: tokens
  cuda::ItemIndex::Clustering clustering;
  std::int64_t sink = 4, window = 64;
};

/// dense, streaming, quest (budget), twilight (p, base), retroinfer (exact, estimated),
/// cluster_top_p (p), double_p (p1, p2, estimator, outside, gqa, value_side); the cluster policies
/// also take tokens_per_cluster, segment, iterations. Throws InputError that lists what there is.
Spec parse_spec(const std::string& text, float scale);
/// Specs of one key read the same index.
std::string index_key(const Spec& spec);

}  // namespace doublep::bench
