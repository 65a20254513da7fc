// Where the attention mass of a trace lies: what `doublep inspect` prints, and what synthetic
// traces are held against.
#pragma once

#include <cstdint>
#include <vector>

#include "core/trace/trace.h"

namespace doublep {

struct InspectOptions {
  std::int64_t sink = 4, window = 64;
  std::int64_t max_steps = 0;           ///< evenly spaced over the trace; 0 = all
  std::int64_t tokens_per_cluster = 0;  ///< > 0: also cluster the keys, for `jensen`
};

/// One query head; means over the inspected steps. Masses are float64 softmax over all visible
/// tokens; the window is what the sink leaves of the last tokens.
struct HeadStatistics {
  std::int32_t layer = 0, head = 0, kv_head = 0;
  double tokens_80 = 0, tokens_95 = 0, tokens_99 = 0;  ///< size of the smallest set with that mass
  double sink_mass = 0, window_mass = 0;
  double max_weight = 0;        ///< of one token
  double effective_tokens = 0;  ///< exp(entropy)
  /// Estimated over true mass of the clusters between sink and window, z = s exp(q.C scale): at
  /// most 1 (Jensen), k-means as Double-P's default. NaN where not asked for.
  double jensen = 0;
};

/// Of one step: masses of `weights` (softmax, sum 1) alone; layer, heads and jensen stay unset.
HeadStatistics statistics_of(const double* weights, std::int64_t n, const InspectOptions& options);

/// All query heads of a layer, by head. Spread over KV heads and steps; memory: the layer, and two
/// float64 rows a query head of the group for each thread.
std::vector<HeadStatistics> inspect_layer(const Trace& trace, int layer,
                                          const InspectOptions& options);

}  // namespace doublep
