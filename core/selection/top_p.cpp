#include "core/selection/top_p.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

namespace doublep {
namespace {
auto larger_first(std::span<const double> values) {
  return [values](std::int32_t a, std::int32_t b) {
    return values[a] != values[b] ? values[a] > values[b] : a < b;
  };
}
std::vector<std::int32_t> all_indices(std::size_t n) {
  std::vector<std::int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  return order;
}
}  // namespace

std::vector<std::int32_t> descending_order(std::span<const double> values) {
  auto order = all_indices(values.size());
  std::sort(order.begin(), order.end(), larger_first(values));
  return order;
}

std::vector<std::int32_t> top_k(std::span<const double> values, std::int64_t k) {
  auto order = all_indices(values.size());
  if (k < static_cast<std::int64_t>(order.size())) {
    if (k > 0)
      std::nth_element(order.begin(), order.begin() + (k - 1), order.end(), larger_first(values));
    order.resize(std::max<std::int64_t>(k, 0));
    std::sort(order.begin(), order.end());
  }
  return order;
}

std::vector<double> relative_masses(std::span<const double> log_masses, double* shift) {
  double max = -std::numeric_limits<double>::infinity();
  for (double x : log_masses) max = std::max(max, x);
  const bool any = max > -std::numeric_limits<double>::infinity();
  std::vector<double> masses(log_masses.size(), 0.0);
  if (any)
    for (std::size_t i = 0; i < masses.size(); ++i) masses[i] = std::exp(log_masses[i] - max);
  if (shift) *shift = any ? max : 0.0;
  return masses;
}

std::size_t smallest_prefix(std::span<const double> masses, std::span<const std::int32_t> order,
                            double target) {
  double sum = 0;
  std::size_t n = 0;
  while (n < order.size() && sum < target && masses[order[n]] > 0) sum += masses[order[n++]];
  return n;
}

std::size_t top_p_prefix(std::span<const double> masses, std::span<const std::int32_t> order,
                         double p, double total, double held) {
  const double target = p >= 1 ? std::numeric_limits<double>::infinity() : p * total - held;
  return smallest_prefix(masses, order, target);
}

std::size_t smallest_set_size(std::vector<double> values, double target) {
  auto first = values.begin(), last = values.end();
  std::size_t taken = 0;
  // Invariant: the answer is `taken` plus the smallest set of [first, last) that holds `target`.
  while (target > 0 && first != last) {
    if (last - first <= 32) {
      std::sort(first, last, std::greater<>());
      while (first != last && target > 0) target -= *first++, ++taken;
      break;
    }
    const auto middle = first + (last - first) / 2;
    std::nth_element(first, middle, last, std::greater<>());
    const double upper = std::accumulate(first, middle, 0.0);
    if (upper >= target) {
      last = middle;
    } else {
      target -= upper, taken += middle - first, first = middle;
    }
  }
  return taken;
}

}  // namespace doublep
