// Keys of one KV head in a few bits per element, asymmetric min-max per token: x is kept as
// low + code * step with step = (max - min) / (2^bits - 1), so it is never off by more than half a
// step (and the rounding of float32).
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/matrix.h"
#include "core/cache/kv_cache.h"
#include "core/cost/stages.h"

namespace doublep {

/// How a row is remembered: x is low + code * step.
struct RowScale {
  float low = 0, step = 0;
};
/// Codes of one row of d elements, `bits` (1 .. 8) each.
RowScale quantise_row(const float* row, std::int64_t d, int bits, std::uint8_t* codes);

class QuantisedKeys {
 public:
  /// `bits` in 1 .. 8.
  explicit QuantisedKeys(int bits, KvDtype dtype) : bits_(bits), dtype_(dtype) {}

  /// Quantises the tokens that joined since the last call.
  void extend(const KvHead& cache);

  std::int64_t length() const { return static_cast<std::int64_t>(scales_.size()); }
  float step(std::int64_t token) const { return scales_[token].step; }
  std::uint8_t code(std::int64_t token, std::int64_t i) const { return codes_[token * d_ + i]; }
  /// The key as it is remembered: float32 [d].
  void decode(std::int64_t token, float* key) const;

  double bytes_per_token() const { return cost::quantised_key_bytes(static_cast<int>(d_), bits_); }
  IndexCost cost() const { return {bytes_per_token() * static_cast<double>(length()), build_}; }

 private:
  int bits_;
  KvDtype dtype_;
  std::int64_t d_ = 0;
  std::vector<std::uint8_t> codes_;  // [tokens, d], one byte each whatever `bits`
  std::vector<RowScale> scales_;     // [tokens]
  Work build_;
};

}  // namespace doublep
