// What a step and its index cost, counted by the reference's rules from what the device touched.
#pragma once

#include <cstdint>
#include <vector>

#include "core/cache/query_block.h"
#include "core/index/cluster_index.h"
#include "core/policy/policy.h"
#include "cuda/decoder/step_options.h"

namespace doublep::cuda {

/// Clustering `points` tokens of one KV head.
Work clustering_work(std::int64_t points, int head_dim, const ItemIndex::Clustering& options);
/// Taking `joined` tokens of one KV head into the pages and, for Twilight, the 4-bit keys.
Work paging_work(const PolicyPlan& plan, std::int64_t joined, int head_dim, KvDtype dtype);
/// Bytes of one KV head's pages (and 4-bit keys) over `length` tokens.
double paging_bytes(const PolicyPlan& plan, std::int64_t length, int head_dim, KvDtype dtype);

/// What one KV head's selection read, beside what it selected.
struct Touched {
  std::int64_t length = 0, zone = 0;    ///< visible tokens; those of sinks and tail
  const ClusterIndex* index = nullptr;  ///< where there are clusters
  std::vector<double> candidates;       ///< Twilight: tokens proposed to each head
  double distinct_candidates = 0;       ///< of the group
};
/// Adds the stages estimate, select and attend to `out`, whose heads hold the selection.
void charge_step(const PolicyPlan& plan, const QueryGroup& group, KvDtype dtype,
                 const Touched& touched, GroupSelection& out);

}  // namespace doublep::cuda
