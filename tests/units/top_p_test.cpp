// Is a top-p the smallest set: does it reach its target, and no longer without its last element?
#include "core/selection/top_p.h"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <numeric>

#include "core/base/random.h"
#include "tests/catch.h"

using namespace doublep;

namespace {

double sum_of_first(const std::vector<double>& m, const std::vector<std::int32_t>& order,
                    std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += m[order[i]];
  return sum;
}
}  // namespace

TEST_CASE("prefixes by hand") {
  const std::vector<double> m = {1, 4, 2, 0, 1};  // descending: 4 2 1 1 0
  const auto order = descending_order(m);
  CHECK(smallest_prefix(m, order, 0) == 0);
  CHECK(smallest_prefix(m, order, -1) == 0);
  CHECK(smallest_prefix(m, order, 4) == 1);  // reached exactly: no more
  CHECK(smallest_prefix(m, order, 4.5) == 2);
  CHECK(smallest_prefix(m, order, 8) == 4);
  CHECK(smallest_prefix(m, order, 9) == 4);  // never reached: what has mass, not the zero
  CHECK(smallest_prefix({}, {}, 1) == 0);
  CHECK(top_p_prefix(m, order, 0.75, 8) == 2);  // 6 of 8
  CHECK(top_p_prefix(m, order, 1, 8) == 4);
  CHECK(top_p_prefix(m, order, 0.5, 16, 8) == 0);  // what is held suffices
  CHECK(top_p_prefix(m, order, 0.6, 16, 8) == 1);  // 9.6 - 8 = 1.6
}

TEST_CASE("minimality and brute force on random masses") {
  int wrong = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const CounterRng rng(seed);
    std::vector<double> m(1 + rng.below(0, 100));
    const double skew = 8 * rng.uniform(1);
    for (std::size_t i = 0; i < m.size(); ++i)
      m[i] = seed % 3 == 0 ? static_cast<double>(rng.below(i + 2, 4))  // ties and zeros
                           : std::exp(skew * rng.normal(i + 2));
    const double total = std::accumulate(m.begin(), m.end(), 0.0);
    const auto order = descending_order(m);
    for (double p : {0.01, 0.3, 0.7, 0.95, 0.999}) {
      const std::size_t n = top_p_prefix(m, order, p, total);
      if (total > 0) {
        wrong += !(sum_of_first(m, order, n) >= p * total);
        wrong += !(n > 0 && sum_of_first(m, order, n - 1) < p * total);
      }
      wrong += smallest_set_size(m, p * total) != n && seed % 3 == 0;  // integers: sums are exact
    }
    const auto positive = std::count_if(m.begin(), m.end(), [](double x) { return x > 0; });
    wrong += top_p_prefix(m, order, 1, total) != static_cast<std::size_t>(positive);
  }
  CHECK(wrong == 0);
}

TEST_CASE("p = 1 takes every item of mass although the prefix sum reaches the total before") {
  std::vector<double> m(50, 1e-20);
  m[7] = 1;  // 1 + 1e-20 == 1 in float64
  CHECK(top_p_prefix(m, descending_order(m), 1, 1.0) == 50);
}

TEST_CASE("smallest_set_size is the count of a sorted prefix, far beyond the sort's cut") {
  int wrong = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const CounterRng rng(seed, 9);
    std::vector<double> v(rng.below(0, 2000));
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<double>(rng.below(i + 1, 1000));
    auto sorted = v;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const double total = std::accumulate(v.begin(), v.end(), 0.0);
    for (double target : {-1.0, 0.0, 1.0, 0.2 * total, 0.5 * total, 0.99 * total, total}) {
      std::size_t n = 0;
      for (double sum = 0; n < sorted.size() && sum < target;) sum += sorted[n++];
      wrong += smallest_set_size(v, target) != n;
    }
    wrong += smallest_set_size(v, total + 1) != v.size();  // never reached: all
  }
  CHECK(wrong == 0);
}

TEST_CASE("a top-p as a set is what its prefix takes: ties, zeros, masses far apart and alike") {
  int wrong = 0;
  for (std::uint64_t seed = 0; seed < 120; ++seed) {
    const CounterRng rng(seed, 4);
    std::vector<double> m(1 + rng.below(0, 3000));
    const double skew = std::array{0.0, 0.01, 1.0, 8.0, 60.0}[seed % 5];
    for (std::size_t i = 0; i < m.size(); ++i)
      m[i] = seed % 3 == 0 ? static_cast<double>(rng.below(i + 2, 4))
                           : std::exp(skew * rng.normal(i + 2));
    const double total = std::accumulate(m.begin(), m.end(), 0.0);
    const auto order = descending_order(m);
    for (const double held : {0.0, 0.4 * total})
      for (const double p : {0.01, 0.3, 0.7, 0.95, 0.999, 1.0}) {
        const auto n = static_cast<std::ptrdiff_t>(top_p_prefix(m, order, p, total + held, held));
        std::vector<std::int32_t> expected(order.begin(), order.begin() + n);
        std::sort(expected.begin(), expected.end());
        wrong += top_p_set(m, p, total + held, held) != expected;
      }
  }
  CHECK(wrong == 0);
  CHECK(top_p_set({}, 0.5, 0).empty());
  CHECK(top_p_set(std::vector<double>{0, 0}, 1, 0).empty());
}

TEST_CASE("relative masses neither overflow nor underflow as a whole") {
  constexpr double inf = std::numeric_limits<double>::infinity();
  double shift = -1;
  CHECK(relative_masses(std::vector<double>{1e4, 1e4 - std::log(2.0)}, &shift)[1] == Approx(0.5));
  CHECK(shift == 1e4);
  const auto low = relative_masses(std::vector<double>{-1e4, -2e4, -inf}, &shift);
  CHECK(low == std::vector<double>{1, 0, 0});  // a gap of 1e4 underflows, the largest never does
  CHECK(shift == -1e4);
  CHECK(relative_masses(std::vector<double>{-inf, -inf}, &shift) == std::vector<double>{0, 0});
  CHECK(shift == 0);
  CHECK(relative_masses({}, &shift).empty());
  CHECK(shift == 0);
}
