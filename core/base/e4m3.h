// The 8-bit float format of `kv_dtype: fp8`, OCP's E4M3: 4 bits of exponent, bias 7, and 3 of
// mantissa; no infinity, the largest number is 448, S.1111.111 is NaN. Constant expressions, so
// that .cu files convert by the same code (--expt-relaxed-constexpr). Source: OCP 8-bit Floating
// Point Specification 1.0; "FP8 Formats for Deep Learning", arXiv 2209.05433.
#pragma once

#include <bit>
#include <cstdint>

namespace doublep {

inline constexpr float kLargestE4m3 = 448;

/// Round to nearest, ties to even; what is beyond the largest number, infinity too, becomes it; NaN
/// stays NaN.
constexpr std::uint8_t float_to_e4m3(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint8_t>(bits >> 24 & 0x80);
  const std::uint32_t m = bits & 0x7FFFFFFF;
  if (m > 0x7F800000) return sign | 0x7F;
  if (m >= std::bit_cast<std::uint32_t>(kLargestE4m3)) return sign | 0x7E;
  if (m < std::bit_cast<std::uint32_t>(0.015625f)) {
    // Subnormal, units of 2^-9: the sum with 2^23 is rounded to whole units.
    const float units = std::bit_cast<float>(m) * 512 + 8388608.0f;
    return sign | static_cast<std::uint8_t>(std::bit_cast<std::uint32_t>(units) & 0xF);
  }
  return sign | static_cast<std::uint8_t>((m + 0x7FFFF + (m >> 20 & 1) - (120u << 23)) >> 20);
}

constexpr float e4m3_to_float(std::uint8_t v) {
  const std::uint32_t sign = std::uint32_t{v & 0x80u} << 24, m = v & 0x7Fu;
  if (m == 0x7F) return std::bit_cast<float>(sign | 0x7FC00000u);
  const float magnitude =
      m < 8 ? static_cast<float>(m) / 512 : std::bit_cast<float>((m << 20) + (120u << 23));
  return sign ? -magnitude : magnitude;
}

/// What the numbers of a block are divided by before they are rounded, so that the largest of them
/// becomes the largest of the format.
struct E4m3Scale {
  float step = 0;     ///< a stored number times this is the number
  float inverse = 0;  ///< 1 / step; both 0 where the block holds nothing but zeros
  /// `largest` magnitude of the block.
  constexpr static E4m3Scale of(float largest) {
    // Below this the inverse would be infinite, and zeros no numbers.
    if (!(largest > 1e-30f)) return {};
    return {largest / kLargestE4m3, kLargestE4m3 / largest};
  }
  constexpr std::uint8_t store(float value) const { return float_to_e4m3(value * inverse); }
  constexpr float load(std::uint8_t stored) const { return e4m3_to_float(stored) * step; }
};

}  // namespace doublep
