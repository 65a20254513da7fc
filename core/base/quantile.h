// Quantiles of a sample: linear interpolation between its order statistics.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "core/base/error.h"

namespace doublep {

/// Where a quantile, q in [0, 1], lies in a sorted sample of `size` > 0: between two places.
struct QuantilePlace {
  QuantilePlace(double q, std::size_t size) {
    DP_ASSERT(size > 0 && q >= 0 && q <= 1, "a quantile ", q, " of ", size, " values");
    const double place = q * static_cast<double>(size - 1);
    below = static_cast<std::size_t>(place);
    share = place - static_cast<double>(below);
    above = share > 0 ? below + 1 : below;
  }
  std::size_t below, above;
  double share;  ///< of the way from one to the other
};

/// Never outside of [low, high], and rising with both, in float arithmetic too.
inline double between(double low, double high, double share) {
  if (share == 0 || low == high) return low;
  return std::clamp(low * (1 - share) + high * share, low, high);
}

/// NaN for an empty sample, and where a value is none.
inline double quantile(std::vector<double> values, double q) {
  if (values.empty() ||
      std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); }))
    return std::nan("");
  const QuantilePlace place(q, values.size());
  std::sort(values.begin(), values.end());
  return between(values[place.below], values[place.above], place.share);
}

}  // namespace doublep
