#include "core/trace/tensor.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

#include "core/base/error.h"

namespace doublep {
namespace {

// Eigen's conversion from 16 bits is vectorised.
template <class Half>
void widen_as(const std::vector<std::uint16_t>& bits, float* out) {
  const auto n = static_cast<Eigen::Index>(bits.size());
  Eigen::Map<Eigen::ArrayXf>(out, n) = Eigen::Map<const Eigen::Array<Half, Eigen::Dynamic, 1>>(
                                           reinterpret_cast<const Half*>(bits.data()), n)
                                           .template cast<float>();
}

}  // namespace

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::int64_t n : shape)
    text += (text.size() > 1 ? ", " : "") + (n == kAnyExtent ? "any" : std::to_string(n));
  return text + "]";
}

bool shape_fits(const std::vector<std::int64_t>& found, const std::vector<std::int64_t>& expected) {
  return std::equal(
      found.begin(), found.end(), expected.begin(), expected.end(),
      [](std::int64_t f, std::int64_t e) { return e == kAnyExtent ? f > 0 : f == e; });
}

double num_values(const std::vector<std::int64_t>& shape) {
  double n = 1;
  for (std::int64_t extent : shape) n *= static_cast<double>(extent);
  return n;
}

void widen(StoredType type, const std::vector<std::uint16_t>& bits, float* out) {
  type == StoredType::kBfloat16 ? widen_as<Eigen::bfloat16>(bits, out)
                                : widen_as<Eigen::half>(bits, out);
}

std::int64_t find_unfit(const float* values, std::int64_t size) {
  const auto good =
      Eigen::Map<const Eigen::ArrayXf>(values, size).abs() <= static_cast<float>(kLargestValue);
  if (good.all()) return size;  // NaN compares false
  std::int64_t at = 0;
  while (std::abs(values[at]) <= static_cast<float>(kLargestValue)) ++at;
  return at;
}

void check_values(const float* block, std::int64_t size, std::int64_t offset,
                  const std::vector<std::int64_t>& shape, const std::string& place) {
  const std::int64_t at = find_unfit(block, size);
  if (at == size) return;
  std::vector<std::int64_t> index(shape.size());
  std::int64_t rest = offset + at;
  for (std::size_t k = shape.size(); k-- > 0; rest /= shape[k]) index[k] = rest % shape[k];
  if (!std::isfinite(block[at]))
    fail_input(place, shape_text(index), " is ", block[at],
               "; a trace holds finite values only, record it again");
  fail_input(place, shape_text(index), " is ", block[at], "; no model's values are above ",
             kLargestValue, " in magnitude, record it again");
}

}  // namespace doublep
