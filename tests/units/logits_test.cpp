// Do log-sum-exp and the running softmax stay finite where exp does not?
#include "core/cache/logits.h"

#include <limits>

#include "core/attention/token_block.h"
#include "core/policy/exact_zone.h"
#include "tests/catch.h"
#include "tests/support/brute_force.h"
#include "tests/support/random_cache.h"

using namespace doublep;
using namespace doublep::test;

namespace {
constexpr double kInf = std::numeric_limits<double>::infinity();
double lse(const std::vector<double>& x) { return log_sum_exp(x); }

std::vector<std::int32_t> tokens_of(const ExactZone& zone) {
  std::vector<std::int32_t> tokens;
  zone.for_each([&](auto j) { tokens.push_back(j); });
  CHECK(static_cast<std::int64_t>(tokens.size()) == zone.size());
  for (std::int32_t j = 0; j < zone.length; ++j)
    CHECK(zone.contains(j) == (std::count(tokens.begin(), tokens.end(), j) == 1));
  return tokens;
}
}  // namespace

TEST_CASE("log-sum-exp by hand, far from zero, and of nothing") {
  CHECK(lse({0, 0}) == Approx(std::log(2)));
  CHECK(lse({1e4, 1e4, 1e4, 1e4}) == Approx(1e4 + std::log(4)).epsilon(1e-15));
  CHECK(lse({-1e4, -1e4}) == Approx(-1e4 + std::log(2)).epsilon(1e-15));
  CHECK(lse({1e4, -1e4}) == 1e4);
  CHECK(lse({-kInf, 3, -kInf}) == 3);
  CHECK(lse({}) == -kInf);
  CHECK(lse({-kInf, -kInf}) == -kInf);
}

TEST_CASE("a running softmax equals log-sum-exp in any order") {
  for (const std::vector<double>& x :
       {std::vector<double>{-1e4, 1e4, 0}, {1e4, 0, -1e4}, {-kInf, -2, 5, 5}, {7}}) {
    SoftmaxState state;
    for (double v : x) {
      state.raise(v);
      if (v > -kInf) state.sum += std::exp(v - state.max);
    }
    CHECK(state.log_sum_exp() == Approx(lse(x)).epsilon(1e-14));
  }
  SoftmaxState empty;
  CHECK(empty.log_sum_exp() == -kInf);
  CHECK(empty.raise(-kInf) == 1);  // nothing changed
  CHECK(empty.raise(-1e4) == 0);   // there was nothing
}

TEST_CASE("exact logits are those of long double to float64's rounding") {
  const RandomCache cache({2, 3, 700, 80});  // more than one block of rows
  const QueryGroup group = cache.group(1);
  const MatrixD logits = exact_logits(group, cache.head(1));
  double worst = 0;
  for (int h = 0; h < 3; ++h)
    for (std::int64_t j = 0; j < 700; ++j)
      worst = std::max(
          worst,
          static_cast<double>(std::abs(logits(h, j) - brute_logit(cache.head(1), group, h, j))));
  CHECK(worst < 1e-13);
  CHECK(exact_logits(group, cache.head(1).keys, 0).cols() == 0);
}

TEST_CASE("exact zones: sinks, window, and everything where they meet") {
  CHECK(tokens_of(ExactZone::of(2, 3, 10)) == Tokens{0, 1, 7, 8, 9});
  CHECK(tokens_of(ExactZone::of(2, 3, 5)) == Tokens{0, 1, 2, 3, 4});
  CHECK(tokens_of(ExactZone::of(4, 64, 1)) == Tokens{0});
  CHECK(tokens_of(ExactZone::of(0, 0, 4)).empty());
  CHECK(tokens_of(ExactZone::of(0, 2, 4)) == Tokens{2, 3});
  CHECK(tokens_of(ExactZone::of(1000000000000, 1000000000000, 3)) == Tokens{0, 1, 2});
}
