#include "core/index/quantiser.h"

#include <algorithm>
#include <cmath>

namespace doublep {

RowScale quantise_row(const float* row, std::int64_t d, int bits, std::uint8_t* codes) {
  const int levels = (1 << bits) - 1;
  const auto [low, high] = std::minmax_element(row, row + d);
  const double step = (static_cast<double>(*high) - *low) / levels;
  for (std::int64_t i = 0; i < d; ++i) {
    const double code = step > 0 ? std::nearbyint((static_cast<double>(row[i]) - *low) / step) : 0;
    codes[i] = static_cast<std::uint8_t>(std::clamp(code, 0.0, 1.0 * levels));
  }
  return {*low, static_cast<float>(step)};
}

void QuantisedKeys::extend(const KvHead& cache) {
  const std::int64_t first = length();
  d_ = cache.head_dim;
  codes_.resize(cache.length * d_);
  for (std::int64_t j = first; j < cache.length; ++j)
    scales_.push_back(quantise_row(cache.key(j), d_, bits_, codes_.data() + j * d_));
  build_ += cost::quantise(static_cast<double>(cache.length - first), cache.head_dim, dtype_);
}

void QuantisedKeys::decode(std::int64_t token, float* key) const {
  for (std::int64_t i = 0; i < d_; ++i)
    key[i] = scales_[token].low + scales_[token].step * code(token, i);
}

}  // namespace doublep
