#include "core/index/quantiser.h"

#include <algorithm>
#include <cmath>

namespace doublep {

void QuantisedKeys::extend(const KvHead& cache) {
  const std::int64_t first = length();
  d_ = cache.head_dim;
  codes_.resize(cache.length * d_);
  const int levels = (1 << bits_) - 1;
  for (std::int64_t j = first; j < cache.length; ++j) {
    const float* key = cache.key(j);
    const auto [low, high] = std::minmax_element(key, key + d_);
    const double step = (static_cast<double>(*high) - *low) / levels;
    for (std::int64_t i = 0; i < d_; ++i) {
      const double code =
          step > 0 ? std::nearbyint((static_cast<double>(key[i]) - *low) / step) : 0;
      codes_[j * d_ + i] = static_cast<std::uint8_t>(std::clamp(code, 0.0, 1.0 * levels));
    }
    lows_.push_back(*low), steps_.push_back(static_cast<float>(step));
  }
  build_ += cost::quantise(static_cast<double>(cache.length - first), cache.head_dim, dtype_);
}

void QuantisedKeys::decode(std::int64_t token, float* key) const {
  for (std::int64_t i = 0; i < d_; ++i) key[i] = lows_[token] + steps_[token] * code(token, i);
}

}  // namespace doublep
