#include "core/selection/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
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

std::int64_t sample_size(std::span<const double> certain, std::span<const double> base,
                         std::int64_t n, double z, double eps) {
  if (base.empty()) return 0;
  double max = -std::numeric_limits<double>::infinity();
  for (double x : certain) max = std::max(max, x);
  for (double x : base) max = std::max(max, x);
  const double count = static_cast<double>(base.size()), all = static_cast<double>(n);
  double denominator = 0, sum = 0, squares = 0;
  for (double x : certain) denominator += std::exp(x - max);
  for (double x : base) sum += std::exp(x - max);
  for (double x : base) squares += std::pow(std::exp(x - max) - sum / count, 2);
  denominator += all * sum / count;
  const double sigma = std::sqrt(squares / std::max(1.0, count - 1));
  const double size = std::pow(z * sigma * all / (eps * denominator), 2);
  return static_cast<std::int64_t>(std::ceil(std::clamp(size, count, all)));
}

}  // namespace doublep
