// What one policy really did on one trace: work per (layer, KV head, step), and how much of what a
// step reads was read by the steps before it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/cost/stages.h"
#include "core/policy/registry.h"
#include "core/trace/trace.h"
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
  Search search = Search::kHeads;  ///< the policy's; files do not hold what describe() sets
  bool single_keys = false;        ///< keeps_single_keys()
  double zone = 0;  ///< tokens of sink and window, which a packed cache leaves in 16 bits
  double output_error = 0, covered_mass = 0;  ///< means over layers, heads and steps
};

/// A cache of hot tokens in front of a KV cache that lives elsewhere: what it would have held.
///
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

struct MeasureOptions {
  std::int64_t every_step = 1;  ///< note rows and quality each so many steps; hits use all
  std::int64_t max_steps = 0;   ///< 0 = all
  std::uint64_t seed = 0;
};

/// What follows from a policy's parameters: search, single_keys, zone.
void describe(Profile& profile, const PolicyInfo& policy, const Parameters& parameters);

/// Runs a policy over a trace on the CPU reference and notes what it touched.
/// `progress` is called after each layer; false throws InputError.
Profile measure_profile(const Trace& trace, const PolicyInfo& policy, const Parameters& parameters,
                        const MeasureOptions& options,
                        const std::function<bool(double done)>& progress = {});

/// Profiles as text, so that what a policy did on a trace too large to ship can be committed:
/// tab-separated lines, each tagged by its first field: `doublep-profile 1`, then per profile
/// `trace`, `policy`, `index`, `quality`, `hit`..., `row`.... Throws InputError (unwritable).
void write_profiles(const std::string& path, const std::vector<Profile>& profiles);
/// Throws InputError "file:line: ..." for anything that is not of the form above. Numbers are
/// finite and not negative, counts whole.
std::vector<Profile> read_profiles(const std::string& path);

}  // namespace doublep::sim
