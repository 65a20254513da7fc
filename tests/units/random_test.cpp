// Is the counter-based generator uniform enough, and a pure function of key and counter?
#include "core/base/random.h"

#include <array>
#include <set>
#include <vector>

#include "tests/catch.h"

using namespace doublep;

TEST_CASE("splitmix64 gives the published values") {
  // First outputs of the reference generator for seeds 0 and 1234567.
  CHECK(splitmix64(0) == 0xE220A8397B1DCDAFull);
  CHECK(splitmix64(0x9E3779B97F4A7C15ull) == 0x6E789E6AA1B965F4ull);
  CHECK(splitmix64(1234567) == 6457827717110365317ull);
}

TEST_CASE("the order of calls changes nothing") {
  const CounterRng rng(5, 1, 2, 3);
  std::vector<std::uint64_t> forward, backward;
  for (int i = 0; i < 100; ++i) forward.push_back(rng.bits(i));
  for (int i = 99; i >= 0; --i) backward.push_back(CounterRng(5, 1, 2, 3).bits(i));
  CHECK(forward == std::vector<std::uint64_t>(backward.rbegin(), backward.rend()));
}

TEST_CASE("streams differ in every part of their key, and in its order") {
  std::set<std::uint64_t> firsts;
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (std::uint64_t a = 0; a < 4; ++a)
      for (std::uint64_t b = 0; b < 4; ++b)
        for (std::uint64_t c = 0; c < 4; ++c) firsts.insert(CounterRng(seed, a, b, c).bits(0));
  CHECK(firsts.size() == 256);
}

TEST_CASE("uniform is uniform: moments and a chi-square over 100 bins") {
  const CounterRng rng(11);
  constexpr int n = 200000;
  double mean = 0, square = 0, lag = 0, previous = 0.5;
  std::array<int, 100> bins{};
  int outside = 0;
  for (int i = 0; i < n; ++i) {
    const double u = rng.uniform(i);
    outside += !(u >= 0 && u < 1);
    mean += u / n, square += u * u / n, lag += (u - 0.5) * (previous - 0.5) / n;
    previous = u, ++bins[static_cast<int>(u * 100) % 100];
  }
  CHECK(outside == 0);
  CHECK(mean == Approx(0.5).margin(3.5 / std::sqrt(12.0 * n)));
  CHECK(square == Approx(1.0 / 3).margin(0.0024));
  CHECK(std::abs(lag) < 3.5 / 12 / std::sqrt(static_cast<double>(n)));
  double chi2 = 0;
  for (int count : bins) chi2 += std::pow(count - n / 100.0, 2) / (n / 100.0);
  CHECK(chi2 < 99 + 4 * std::sqrt(2 * 99.0));
}

TEST_CASE("below stays below, and reaches everything") {
  const CounterRng rng(3);
  std::array<int, 7> seen{};
  for (int i = 0; i < 7000; ++i) {
    const auto x = rng.below(i, 7);
    REQUIRE(x < 7);
    ++seen[x];
  }
  for (int count : seen) CHECK(count == Approx(1000).margin(130));
  CHECK(rng.below(0, 1) == 0);
}

TEST_CASE("normal has the normal's moments and is finite") {
  const CounterRng rng(17);
  constexpr int n = 200000;
  int wild = 0;
  double m1 = 0, m2 = 0, m4 = 0;
  for (int i = 0; i < n; ++i) {
    const double x = rng.normal(i);
    wild += !std::isfinite(x);
    m1 += x / n, m2 += x * x / n, m4 += x * x * x * x / n;
  }
  CHECK(wild == 0);
  CHECK(m1 == Approx(0).margin(3.5 / std::sqrt(static_cast<double>(n))));
  CHECK(m2 == Approx(1).margin(0.012));
  CHECK(m4 == Approx(3).margin(0.08));
}
