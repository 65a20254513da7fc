// A counter-based generator: value number i of stream (key) is a pure function of both, so that a
// run repeats bit for bit on any number of threads and in any order.
#pragma once

#include <cmath>
#include <cstdint>

namespace doublep {

/// The splitmix64 finaliser: a bijection of 64-bit words with full avalanche.
constexpr std::uint64_t splitmix64(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

class CounterRng {
 public:
  /// Streams with different (seed, a, b, c) are independent for our purposes.
  explicit constexpr CounterRng(std::uint64_t seed, std::uint64_t a = 0, std::uint64_t b = 0,
                                std::uint64_t c = 0)
      : key_(splitmix64(splitmix64(splitmix64(splitmix64(seed) ^ a) ^ b) ^ c)) {}

  constexpr std::uint64_t bits(std::uint64_t i) const { return splitmix64(key_ ^ splitmix64(i)); }
  /// Uniform in [0, 1), 53 bits.
  constexpr double uniform(std::uint64_t i) const {
    return static_cast<double>(bits(i) >> 11) * 0x1.0p-53;
  }
  /// Uniform integer in [0, n); n > 0. The bias of the multiply-shift is below n / 2^64.
  constexpr std::uint64_t below(std::uint64_t i, std::uint64_t n) const {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(bits(i)) * n) >> 64);
  }
  /// Standard normal (Box-Muller on values 2i and 2i+1).
  double normal(std::uint64_t i) const {
    const double u = 1.0 - uniform(2 * i), v = uniform(2 * i + 1);
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v);
  }

 private:
  std::uint64_t key_;
};

}  // namespace doublep
