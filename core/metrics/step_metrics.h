// What a step is measured by: dense attention in float64, the metrics of one query head, computed
// from what a decoder reports, whichever backend it ran on, and what the step can tell of its own
// error without the truth.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/matrix.h"
#include "core/cache/kv_cache.h"
#include "core/selection/selection.h"

namespace doublep {

/// One group of query heads over all visible tokens.
struct GroundTruth {
  MatrixD weights;      ///< [group size, length]: true softmax weights, rows sum to 1
  MatrixD outputs;      ///< [group size, value_dim]
  VectorD log_sum_exp;  ///< [group size]

  static GroundTruth of(const KvHead& cache, const QueryGroup& group);
};

struct StepMetrics {
  std::int64_t visible_tokens = 0, exact_tokens = 0, approximated_clusters = 0;
  /// Size of the smallest set of tokens whose true mass is at least exact_mass.
  std::int64_t oracle_tokens = 0;
  double exact_mass = 0;    ///< true mass of the tokens attended exactly
  double covered_mass = 0;  ///< plus that of the tokens inside cluster terms
  double output_error = 0;  ///< |o - o*| / |o*|; |o| where o* is zero
  double cosine = 0;        ///< 1 where both are zero, 0 where one is
  double lse_error = 0;     ///< |log den - true log den|; infinite where nothing was attended
};

/// `head`: place in the group; `output`: float32 [value_dim].
StepMetrics measure(const GroundTruth& truth, int head, const Selection& selection,
                    const float* output, double log_sum_exp);

/// Relative output error that the cluster terms of one head's selection are expected to cause, from
/// second moments (core/policy/term_error.h): the square root of the sum over its terms of
///     e_i^2 = p_i^2 f_i (|V_i - o|^2 + Sv_i) / |o|^2,
/// with the shares p_i of what was attended (log_sum_exp: of all weights, those of terms included)
/// and its output o, float32 [value_dim]. 0 where every visible token is attended exactly; NaN
/// where tokens are left out or stand for others (log_weights): nothing is known of what they hold.
/// Where o is zero the error is absolute. Costs a dot product a term; nothing is read that the step
/// has not read but two numbers a term, and nothing is decided by it, so that no cost is charged.
double predicted_error(const Selection& selection, const QueryGroup& group, int head,
                       std::int64_t visible, const float* output, int value_dim,
                       double log_sum_exp);

}  // namespace doublep
