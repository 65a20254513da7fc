// The metrics of one query head in one step, computed from what a decoder reports, whichever
// backend it ran on.
#pragma once

#include <cstdint>

#include "core/metrics/ground_truth.h"
#include "core/selection/selection.h"

namespace doublep {

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

}  // namespace doublep
