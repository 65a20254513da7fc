// Are the 16-bit conversions right for every bit pattern, and for what lies between two of them?
#include "core/base/half.h"

#include <Eigen/Core>
#include <limits>

#include "core/base/random.h"
#include "tests/catch.h"

using namespace doublep;

namespace {
std::uint16_t eigen_half(float x) { return Eigen::half_impl::float_to_half_rtne(x).x; }
}  // namespace

TEST_CASE("every half survives the way to float and back") {
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto h = static_cast<std::uint16_t>(bits);
    const float value = half_to_float(h);
    if (std::isnan(value))  // the payload may change, the kind may not
      wrong += !((h & 0x7C00) == 0x7C00 && (h & 0x3FF)) ||
               !std::isnan(half_to_float(float_to_half(value)));
    else
      wrong += float_to_half(value) != h;
  }
  CHECK(wrong == 0);
}

TEST_CASE("halves worked by hand") {
  CHECK(half_to_float(0x3C00) == 1.0f);
  CHECK(half_to_float(0xC000) == -2.0f);
  CHECK(half_to_float(0x7BFF) == 65504.0f);
  CHECK(half_to_float(0x0001) == std::ldexp(1.0f, -24));
  CHECK(half_to_float(0x03FF) == std::ldexp(1023.0f, -24));
  CHECK(std::signbit(half_to_float(0x8000)));
  CHECK(half_to_float(0xFC00) == -std::numeric_limits<float>::infinity());
  CHECK(float_to_half(65519.99f) == 0x7BFF);  // just below the tie with 65536
  CHECK(float_to_half(65520.0f) == 0x7C00);
  CHECK(float_to_half(1 + std::ldexp(1.0f, -11)) == 0x3C00);      // tie: to even, down
  CHECK(float_to_half(1 + 3 * std::ldexp(1.0f, -11)) == 0x3C02);  // tie: to even, up
  CHECK(float_to_half(std::ldexp(1.0f, -25)) == 0);               // tie of 0 and the least
  CHECK(float_to_half(std::ldexp(1.0f, -25) * 1.0001f) == 1);
  CHECK(float_to_half(std::ldexp(1.0f, -14) * 0.99999f) == 0x0400);  // rounds up to a normal one
}

TEST_CASE("every bfloat16 survives, and agrees with the upper half of a float") {
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto h = static_cast<std::uint16_t>(bits);
    const float value = bfloat16_to_float(h);
    wrong += float_to_bits(value) != bits << 16;
    wrong += std::isnan(value) ? !std::isnan(bfloat16_to_float(float_to_bfloat16(value)))
                               : float_to_bfloat16(value) != h;
  }
  CHECK(wrong == 0);
  CHECK(float_to_bfloat16(bits_to_float(0x3F808000)) == 0x3F80);  // tie: to even, down
  CHECK(float_to_bfloat16(bits_to_float(0x3F818000)) == 0x3F82);  // tie: to even, up
  CHECK(float_to_bfloat16(std::numeric_limits<float>::max()) == 0x7F80);
  CHECK(std::isnan(bfloat16_to_float(float_to_bfloat16(bits_to_float(0x7F800001)))));
}

TEST_CASE("random floats round as another implementation rounds them") {
  const CounterRng rng(7);
  int wrong = 0;
  for (int i = 0; i < 200000; ++i) {
    // All exponents of half and some beyond, so that overflow and subnormals are met.
    const float x = std::ldexp(static_cast<float>(2 * rng.uniform(2 * i) - 1),
                               static_cast<int>(rng.below(2 * i + 1, 50)) - 32);
    wrong += float_to_half(x) != eigen_half(x);
    const auto bf = Eigen::bfloat16(x);
    wrong += float_to_bfloat16(x) != Eigen::numext::bit_cast<std::uint16_t>(bf);
  }
  CHECK(wrong == 0);
}
