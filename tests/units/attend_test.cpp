// Does the shared attend compute METHODS' quotient for any selection, as long double does?
#include "core/attention/attend.h"

#include <limits>

#include "tests/catch.h"
#include "tests/support/brute_force.h"
#include "tests/support/random_cache.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// The worst relative distance, and of the log-sum-exp the worst absolute one, to brute force.
struct Worst {
  double output = 0, lse = 0;
};

Worst compare(const KvHead& cache, const QueryGroup& group, const std::vector<Selection>& chosen) {
  std::vector<float> output(group.size * group.head_dim, 99.0f);
  std::vector<double> lse(group.size, 99.0);
  attend(cache, group, chosen, output.data(), lse.data());
  Worst worst;
  for (int h = 0; h < group.size; ++h) {
    const auto expected = brute_attend(cache, group, h, chosen[h]);
    worst.output = std::max(worst.output,
                            relative_distance(output.data() + h * group.head_dim, expected.output,
                                              0.1L));  // values near 1 may cancel
    if (std::isinf(expected.log_sum_exp))
      worst.lse += lse[h] != -std::numeric_limits<double>::infinity();
    else
      worst.lse = std::max(worst.lse, std::abs(lse[h] - static_cast<double>(expected.log_sum_exp)));
  }
  return worst;
}

std::vector<std::int32_t> some_tokens(std::int64_t n, double share, std::uint64_t seed) {
  const CounterRng rng(seed);
  std::vector<std::int32_t> tokens;
  for (std::int32_t j = 0; j < n; ++j)
    if (rng.uniform(j) < share) tokens.push_back(j);
  return tokens;
}

std::shared_ptr<const ClusterIndex> index_over(const KvHead& cache) {
  return std::make_shared<const ClusterIndex>(ClusterIndex::build(cache, 0, cache.length, {}));
}

}  // namespace

TEST_CASE("by hand: two tokens, a weighted one, and a term") {
  // d = 1, scale 1, q = 1. Logits ln 1, ln 3: weights 1 and 3; values 4 and 8: (4 + 24) / 4 = 7.
  const HandCache cache(1, {0, std::log(3.0f), 0}, {4, 8, 100});
  const float q = 1;
  const QueryGroup group{&q, 1, 1, 1.0, 0};
  Selection s;
  s.tokens = {0, 1};
  float out;
  double lse;
  attend(cache.head(), group, {&s, 1}, &out, &lse);
  CHECK(out == Approx(7).epsilon(1e-6));
  CHECK(lse == Approx(std::log(4)).epsilon(1e-6));
  // Token 0 with weight 2 (log 2): (2 * 4 + 3 * 8) / 5 = 6.4.
  s.log_weights = {std::log(2.0f), 0};
  attend(cache.head(), group, {&s, 1}, &out, &lse);
  CHECK(out == Approx(6.4).epsilon(1e-6));
  // A term of mass 5 and mean value 100 beside: (32 + 500) / 10 = 53.2.
  s.index = std::make_shared<const ClusterIndex>(ClusterIndex::from_assignment(
      cache.head(), 2, 3, MatrixF::Zero(1, 1), std::vector<std::int32_t>{0}));
  s.terms = {{0, std::log(5.0)}};
  attend(cache.head(), group, {&s, 1}, &out, &lse);
  CHECK(out == Approx(53.2).epsilon(1e-6));
  CHECK(lse == Approx(std::log(10)).epsilon(1e-6));
}

TEST_CASE("any selection against brute force, over dimensions and group sizes") {
  for (int d : {1, 7, 16, 64, 80, 128, 256})
    for (int group : {1, 2, 3, 4, 5, 8}) {
      const RandomCache cache({1, group, 333, d}, static_cast<std::uint64_t>(d + group));
      const auto index = index_over(cache.head());
      std::vector<Selection> own(group), shared(group);
      for (int h = 0; h < group; ++h) {
        own[h].tokens = some_tokens(333, 0.2 + 0.1 * h, h);
        shared[h].tokens = some_tokens(333, 0.5, 7);
        if (h % 2) {
          for (std::size_t i = 0; i < own[h].tokens.size(); ++i)
            own[h].log_weights.push_back(0.01f * static_cast<float>(i % 50));
          own[h].index = shared[h].index = index;
          for (std::int32_t c = h; c < index->num_clusters(); c += 3) {
            own[h].terms.push_back({c, 0.1 * c});
            shared[h].terms.push_back({c, -0.2 * c});
          }
        }
      }
      INFO("head_dim " << d << ", group " << group);
      for (const auto& chosen : {own, shared}) {
        const Worst worst = compare(cache.head(), cache.group(), chosen);
        CHECK(worst.output < 3e-6);
        CHECK(worst.lse < 3e-6);
      }
    }
}

TEST_CASE("blocks of 128 tokens: every length around their edges") {
  const RandomCache cache({1, 2, 300, 24});
  for (std::int32_t n : {1, 2, 3, 7, 8, 9, 127, 128, 129, 255, 256, 257, 300}) {
    std::vector<Selection> chosen(2);
    for (std::int32_t j = 0; j < n; ++j) chosen[0].tokens.push_back(j);
    chosen[1].tokens = chosen[0].tokens;
    CHECK(compare(cache.head(), cache.group(), chosen).output < 3e-6);
    chosen[1].tokens.back() = 299;  // another list: heads go one by one
    CHECK(compare(cache.head(), cache.group(), chosen).output < 3e-6);
  }
}

TEST_CASE("half a million tokens err no more than a few") {
  // Values about 1 with nearly equal weights: one float32 sum of them was 1e-5 off.
  const std::int64_t n = 500000;
  RandomCache cache({1, 1, n, 8});
  for (float& v : cache.values) v = 1 + 0.1f * v;
  for (float& k : cache.keys) k *= 0.01f;
  Selection all;
  for (std::int32_t j = 0; j < n; ++j) all.tokens.push_back(j);
  const Worst worst = compare(cache.head(), cache.group(), {all});
  CHECK(worst.output < 5e-7);
  CHECK(worst.lse < 1e-6);
}

TEST_CASE("nothing attended: zeros and minus infinity, beside a head that attends") {
  const RandomCache cache({1, 2, 20, 16});
  std::vector<Selection> chosen(2);
  CHECK(compare(cache.head(), cache.group(), chosen).lse == 0);
  CHECK(compare(cache.head(), cache.group(), chosen).output == 0);
  chosen[1].tokens = {3, 5};
  CHECK(compare(cache.head(), cache.group(), chosen).output < 3e-6);
}

TEST_CASE("terms alone, one of them without mass") {
  const RandomCache cache({1, 1, 64, 16});
  std::vector<Selection> chosen(1);
  chosen[0].index = index_over(cache.head());
  chosen[0].terms = {{0, -std::numeric_limits<double>::infinity()}, {1, 1e4}, {2, 1e4 - 1}};
  CHECK(compare(cache.head(), cache.group(), chosen).output < 3e-6);
  chosen[0].terms.resize(1);
  CHECK(compare(cache.head(), cache.group(), chosen).output == 0);
}

TEST_CASE("a term far above or below the tokens") {
  const RandomCache cache({1, 1, 64, 16});
  for (double mass : {-5e3, 5e3}) {
    std::vector<Selection> chosen(1);
    chosen[0].index = index_over(cache.head());
    chosen[0].tokens = {1, 2, 3};
    chosen[0].terms = {{1, mass}};
    const Worst worst = compare(cache.head(), cache.group(), chosen);
    CHECK(worst.output < 3e-6);
    CHECK(worst.lse < 1e-3);
  }
}

TEST_CASE("values of huge norm stay finite, and right") {
  RandomCache cache({1, 2, 200, 16});
  for (std::size_t i = 0; i < cache.values.size(); ++i) cache.values[i] *= i % 2 ? 1e30f : 1e-30f;
  std::vector<Selection> chosen(2);
  for (auto& s : chosen) s.tokens = some_tokens(200, 0.6, 3);
  CHECK(compare(cache.head(), cache.group(), chosen).output < 1e-5);
}

TEST_CASE("keys of large norm: logits in the thousands do not overflow") {
  RandomCache cache({1, 2, 200, 16});
  for (float& k : cache.keys) k *= 1000;
  std::vector<Selection> chosen(2);
  for (auto& s : chosen) s.tokens = some_tokens(200, 0.6, 3);
  // A logit of 5000 is known to 5000 * 2^-24 * a few in float32; so is the log-sum-exp.
  CHECK(compare(cache.head(), cache.group(), chosen).lse < 5e-3);
}
