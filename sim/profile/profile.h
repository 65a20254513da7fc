// What one policy really did on one trace: work per (layer, KV head, step), and how much of what a
// step reads was read by the steps before it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/cost/cost.h"
#include "sim/cost/roofline.h"

namespace doublep::sim {

/// Work of one query group in one step. Bytes are of a bf16 cache; the group shares its reads.
struct ProfileRow {
  std::int32_t layer = 0, kv_head = 0, step = 0;
  std::int64_t visible_tokens = 0;
  double tokens = 0, terms = 0;  ///< union over the group: read exactly, entered as one term
  double widest_head = 0;        ///< exact tokens of the query head that chose most
  std::array<double, kNumStages> bytes{}, flops{};  ///< summed over the group's heads
};

/// Share of the exact tokens of a step that a least-recently-used cache of `share` of the visible
/// tokens still holds, over the second half of the steps (the first half warms it).
struct HitPoint {
  double share = 0, rate = 0;
};

struct Profile {
  std::string policy, parameters;  ///< parameters: canonical JSON, defaults included
  std::string trace, trace_hash;   ///< the trace's name and content
  int group_size = 0, head_dim = 0, kv_heads = 0;
  std::int64_t context = 0;      ///< visible tokens at the first step
  std::vector<ProfileRow> rows;  ///< by layer, step, KV head
  std::vector<HitPoint> hits;    ///< by rising share
  IndexCost index;               ///< of one KV head of one layer at prefill (mean)
  double recluster_every = 0;    ///< tokens; 0: the index is built once
  /// Re-clustering adds a segment of the new tokens and leaves the rest as it is; 0: builds anew.
  double grown_segment = 0;
  Search search = Search::kHeads;             ///< the policy's; files do not hold it
  double output_error = 0, covered_mass = 0;  ///< means over layers, heads and steps
};

}  // namespace doublep::sim
