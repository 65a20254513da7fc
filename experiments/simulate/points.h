// Decode points of a plan: the keys that say where a step is looked at, multiplied out.
#pragma once

#include <string>
#include <vector>

#include "core/yaml/yaml.h"
#include "sim/decode/decode.h"

namespace doublep::sim {

/// One value, a list or a range, as numbers in [low, high]; of what is counted, whole ones.
std::vector<double> read_numbers(const Yaml& node, double low, double high = kNoLimit);
std::vector<std::int64_t> read_integers(const Yaml& node, double low, double high);

/// Multiplies `points` by the keys of a setting, where they are given: kv_place, kv_dtype,
/// kv_group, cache_share, tensor_parallel, balance, recluster_every, memory_share.
void expand_setting(const Yaml& node, std::vector<DecodePoint>& points);

/// The setting's points times `batch` times the contexts under `context_key`, which must be there;
/// "": none, all contexts are 0.
std::vector<DecodePoint> read_points(const Yaml& node, const std::string& context_key);

/// Refuses more than kMostRuns, the lists of a map multiplied out, before they are made.
void refuse_too_many(const Yaml& node, double points);
double combinations(const Yaml& map);

}  // namespace doublep::sim
