// Are order and top-k those of a full stable sort, ties to the lower index?
#include <algorithm>
#include <limits>
#include <numeric>

#include "core/base/random.h"
#include "core/selection/top_p.h"
#include "tests/catch.h"

using namespace doublep;
using Indices = std::vector<std::int32_t>;

namespace {
Indices brute_order(const std::vector<double>& v) {
  Indices order(v.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return v[a] > v[b]; });
  return order;
}
}  // namespace

TEST_CASE("by hand") {
  const std::vector<double> v = {2, 5, 5, -1, 9};
  CHECK(descending_order(v) == Indices{4, 1, 2, 0, 3});
  CHECK(top_k(v, 2) == Indices{1, 4});  // of the two fives the first
  CHECK(top_k(v, 3) == Indices{1, 2, 4});
  CHECK(top_k(v, 0).empty());
  CHECK(top_k(v, -3).empty());
  CHECK(top_k(v, 5) == Indices{0, 1, 2, 3, 4});
  CHECK(top_k(v, 500) == Indices{0, 1, 2, 3, 4});
  CHECK(top_k({}, 3).empty());
  CHECK(descending_order({}).empty());
}

TEST_CASE("infinities are ordinary values") {
  constexpr double inf = std::numeric_limits<double>::infinity();
  CHECK(descending_order(std::vector<double>{-inf, inf, 0, inf, -inf}) == Indices{1, 3, 2, 0, 4});
  CHECK(top_k(std::vector<double>{-inf, -inf, -inf}, 2) == Indices{0, 1});
}

TEST_CASE("random values with many ties against a stable sort, every k") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const CounterRng rng(seed);
    std::vector<double> v(1 + rng.below(0, 60));
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<double>(rng.below(i + 1, 8));
    const Indices order = brute_order(v);
    CHECK(descending_order(v) == order);
    int wrong = 0;
    for (std::size_t k = 0; k <= v.size() + 1; ++k) {
      Indices expected(order.begin(), order.begin() + std::min(k, v.size()));
      std::sort(expected.begin(), expected.end());
      wrong += top_k(v, static_cast<std::int64_t>(k)) != expected;
    }
    CHECK(wrong == 0);
  }
}
