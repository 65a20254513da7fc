#include "core/selection/top_k.h"

#include <algorithm>
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

}  // namespace doublep
