#include "core/selection/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace doublep {

std::vector<std::int32_t> uniform_sample(std::int64_t n, std::int64_t count,
                                         const CounterRng& rng) {
  std::vector<std::int32_t> all(n);
  std::iota(all.begin(), all.end(), 0);
  if (count >= n) return all;
  for (std::int64_t i = 0; i < count; ++i)  // the first places of a Fisher-Yates shuffle
    std::swap(all[i], all[i + static_cast<std::int64_t>(rng.below(i, n - i))]);
  all.resize(std::max<std::int64_t>(count, 0));
  std::sort(all.begin(), all.end());
  return all;
}

double normal_quantile(double p) {
  double low = -40, high = 40;
  for (int i = 0; i < 100; ++i) {
    const double x = 0.5 * (low + high);
    (0.5 * std::erfc(-x / std::sqrt(2.0)) < p ? low : high) = x;
  }
  return 0.5 * (low + high);
}

}  // namespace doublep
