// Where the attention mass of a trace lies: what `doublep inspect` prints, and what synthetic
// traces are held against.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string_view>
#include <vector>

#include "core/trace/trace.h"

namespace doublep {

struct InspectOptions {
  std::int64_t sink = 4, window = 64;
  std::int64_t max_steps = 0;           ///< evenly spaced over the trace; 0 = all
  std::int64_t tokens_per_cluster = 0;  ///< > 0: also cluster the keys, for `jensen`
  bool heads = false;                   ///< also what experiments/inspect/head_kinds.h says
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

  // What kind of head it is (InspectOptions::heads), else NaN. Clusters are those of `jensen`.
  /// Variance of the members' logits within a cluster, weighted by the cluster's true mass. Far
  /// above 4 the exponential is a matter of a few tokens, which no moment tells.
  double logit_variance = kUnknown;
  /// Effective rank over head_dim of the keys' covariance within clusters, that of the KV head:
  /// between 1/d and 1, which is isotropic.
  double key_rank = kUnknown;
  double query_rank = kUnknown;  ///< effective rank of the queries' moment before the steps: 1 to d
  /// Share of all variance that clusters leave inside: of the keys, and of the logits, which is
  /// that of the keys in the queries' metric.
  double key_within = kUnknown, query_within = kUnknown;
  double drift = kUnknown;  ///< of the query metric, from before the steps to them: 0 to 1
  /// Mean |log of estimated over true mass| of a cluster, weighted by true mass.
  double log_error_jensen = kUnknown, log_error_second_order = kUnknown,
         log_error_pooled = kUnknown;
  /// What `double_p`, `variant: best` by head, takes it for with `head_kinds: auto`
  /// (core/policy/head_kinds.h); empty where the trace has no prompt queries to tell.
  std::string_view kind;
  std::int64_t prompt_positions = 0;  ///< whose queries the metric is made of; 0 = half the steps

  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
};

/// Of one step: masses of `weights` (softmax, sum 1) alone; layer, heads and jensen stay unset.
HeadStatistics statistics_of(const double* weights, std::int64_t n, const InspectOptions& options);

/// All query heads of a layer, by head. Spread over steps; memory: the layer, the index of one KV
/// head, and a few float64 rows a query head of the group for each thread. `progress` is told the
/// share that is done.
std::vector<HeadStatistics> inspect_layer(
    const Trace& trace, int layer, const InspectOptions& options,
    const std::function<void(double)>& progress = [](double) {});

}  // namespace doublep
