// Quantiles of a sample: linear interpolation between its order statistics. Compiled once: where
// products and sums are contracted depends on what they are inlined into, and a target has to be
// met by the same percentile wherever it is asked.
#pragma once

#include <cstddef>
#include <vector>

namespace doublep {

/// Where a quantile, q in [0, 1], lies in a sorted sample of `size` > 0: between two places.
struct QuantilePlace {
  QuantilePlace(double q, std::size_t size);
  std::size_t below, above;
  double share;  ///< of the way from one to the other
};

/// Never outside of [low, high], and rising with both, in float arithmetic too.
double between(double low, double high, double share);

/// NaN for an empty sample, and where a value is none.
double quantile(std::vector<double> values, double q);

}  // namespace doublep
