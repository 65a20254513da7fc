// A cache of hot tokens in front of a KV cache that lives elsewhere: what it would have held.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/profile/profile.h"

namespace doublep::sim {

/// `steps[t]`: the tokens (sorted, unique, < tokens) that step t reads of one KV head. Least
/// recently used goes first; within the oldest step that fits only in part, the share that fits
/// counts. Returns hits and reads for each capacity (in tokens), over the second half of the steps.
struct HitCount {
  double hits = 0, reads = 0;
};
std::vector<HitCount> count_hits(std::span<const std::vector<std::int32_t>> steps,
                                 std::int64_t tokens, std::span<const double> capacities);

/// Rate at a share, linear between points; below the first point in proportion, above the last
/// flat.
double hit_rate(std::span<const HitPoint> curve, double share);

}  // namespace doublep::sim
