#include "core/base/quantile.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"

namespace doublep {

QuantilePlace::QuantilePlace(double q, std::size_t size) {
  DP_ASSERT(size > 0 && q >= 0 && q <= 1, "a quantile ", q, " of ", size, " values");
  const double place = q * static_cast<double>(size - 1);
  below = static_cast<std::size_t>(place);
  share = place - static_cast<double>(below);
  above = share > 0 ? below + 1 : below;
}

double between(double low, double high, double share) {
  if (share == 0 || low == high) return low;
  return std::clamp(low * (1 - share) + high * share, low, high);
}

double quantile(std::vector<double> values, double q) {
  if (values.empty() ||
      std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); }))
    return std::nan("");
  const QuantilePlace place(q, values.size());
  std::sort(values.begin(), values.end());
  return between(values[place.below], values[place.above], place.share);
}

}  // namespace doublep
