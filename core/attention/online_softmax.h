// Partial attention and its merge: the one place where running maxima are rescaled. No Eigen here;
// the GPU backend merges with the same rule (online softmax, arXiv 1805.02867).
#pragma once

#include <cmath>
#include <limits>

namespace doublep {

/// sum exp(x_j - max) v_j and sum exp(x_j - max) over some keys; empty: max = -infinity, sum = 0.
struct SoftmaxState {
  double max = -std::numeric_limits<double>::infinity();
  double sum = 0;

  /// Raises the running maximum to cover `logit`; returns the factor that old sums must be
  /// multiplied with (1 where nothing changed, 0 where there was nothing).
  double raise(double logit) {
    if (!(logit > max)) return 1;
    const double factor = std::exp(max - logit);  // exp(-infinity) = 0 for an empty state
    max = logit, sum *= factor;
    return factor;
  }
  double log_sum_exp() const { return sum > 0 ? max + std::log(sum) : max; }
};

}  // namespace doublep
