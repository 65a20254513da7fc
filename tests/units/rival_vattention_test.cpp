#include "core/selection/sampling.h"
#include "tests/catch.h"
#include "tests/support/dense_limit.h"

using namespace doublep;
using namespace doublep::test;

namespace {
// No token for sure but sink, window and heavy as given.
Given bare(std::int64_t sink, std::int64_t window, std::int64_t heavy) {
  return {{"sink", sink}, {"window", window}, {"heavy", heavy}};
}
}  // namespace

TEST_CASE("the normal quantile has its textbook values") {
  CHECK(normal_quantile(0.975) == Approx(1.959963984540054).epsilon(1e-12));
  CHECK(normal_quantile(0.5) == Approx(0).margin(1e-12));
  CHECK(normal_quantile(0.05) == Approx(-1.6448536269514722).epsilon(1e-12));
}

TEST_CASE("a uniform sample takes every number equally often, none twice") {
  std::vector<int> taken(7, 0);
  bool sorted = true;
  for (std::uint64_t seed = 0; seed < 7000; ++seed) {
    const auto sample = uniform_sample(7, 3, CounterRng(seed));
    sorted &= sample.size() == 3 && sample[0] < sample[1] && sample[1] < sample[2];
    for (std::int32_t i : sample) ++taken[i];
  }
  CHECK(sorted);
  for (int count : taken) CHECK(std::abs(count - 3000) < 3 * std::sqrt(7000 * 12 / 49.0) + 1);
  CHECK(uniform_sample(4, 9, CounterRng(1)) == Tokens{0, 1, 2, 3});
  CHECK(uniform_sample(4, 0, CounterRng(1)).empty());
  CHECK(uniform_sample(0, 0, CounterRng(1)).empty());
}

TEST_CASE("the size of a sample by hand: (z sigma n / (eps D))^2") {
  // Base {1, 3} of 100 terms: sigma = sqrt 2, their part of D is 200; 50 more are certain.
  const std::vector<double> base = {0, std::log(3.0)}, certain = {std::log(50.0)};
  CHECK(sample_size(certain, base, 100, 2, 0.25) == 21);   // (2 sqrt 2 100 / 62.5)^2 = 20.48
  CHECK(sample_size({}, base, 100, 2, 0.26) == 30);        // D = 200: 29.58
  CHECK(sample_size(certain, base, 100, 2, 0.01) == 100);  // never more than there are
  CHECK(sample_size(certain, base, 100, 2, 1) == 2);       // never below the base sample
  CHECK(sample_size(certain, {}, 0, 2, 0.25) == 0);
  const std::vector<double> far = {1000, 1000 + std::log(3.0)};
  CHECK(sample_size({}, far, 100, 2, 0.26) == 30);  // a common factor changes nothing
}

TEST_CASE("vAttention by hand: the size of the sample, and its weight") {
  // One heavy key of weight 1 and, after it, 40 of equal weight: no spread, so the base sample's
  // size is enough. It is 0.05 of 40, and each of its 2 tokens stands for 20.
  HandCache cache(1, std::vector<float>(41, 0.0f), std::vector<float>(41, 1.0f));
  cache.keys[0] = 1;
  const std::vector<float> query = {1};
  const QueryGroup group{query.data(), 1, 1, 1, 0};
  const auto head = HeadPolicy("vattention", bare(1, 0, 0), cache.head()).select(group).heads[0];
  REQUIRE(head.tokens.size() == 3);
  CHECK(head.tokens[0] == 0);
  CHECK(head.log_weights[0] == 0);
  CHECK(head.log_weights[1] == Approx(std::log(20.0)));
  CHECK(head.log_weights[2] == Approx(std::log(20.0)));
  CHECK(relative_denominator(cache.head(), group, 0, head) == Approx(1).epsilon(1e-6));
}

TEST_CASE("vAttention's sample has the size that eps and delta ask for") {
  // 4000 keys, half of weight 1 and half of weight 2: sigma = 0.5 and D = 6000, which a base sample
  // of 2000 knows to about 2 %.
  HandCache cache(1, std::vector<float>(4000, 0.0f), std::vector<float>(4000, 1.0f));
  for (int j = 0; j < 2000; ++j) cache.keys[2 * j] = std::log(2.0f);
  const std::vector<float> query = {1};
  const auto size = [&](double eps, double delta, double base_rate) {
    Given given = bare(0, 0, 0);
    given["eps"] = eps, given["delta"] = delta, given["base_rate"] = base_rate;
    const auto out =
        HeadPolicy("vattention", given, cache.head()).select({query.data(), 1, 1, 1, 0});
    return static_cast<double>(out.heads[0].tokens.size());
  };
  // One-sided: z of 1 - delta.
  CHECK(size(0.009, 0.05, 0.5) ==
        Approx(std::pow(1.6448536 * 0.5 / (0.009 * 1.5), 2)).epsilon(0.05));
  CHECK(size(0.009, 0.1, 0.5) ==
        Approx(std::pow(1.2815516 * 0.5 / (0.009 * 1.5), 2)).epsilon(0.05));
  CHECK(size(0.05, 0.05, 0.5) == 2000);  // the base sample's size is enough
  CHECK(size(0.005, 0.05, 0.5) == 4000);
}

TEST_CASE("vAttention that samples all, or asks for no error, is dense") {
  const RandomCache data({2, 4, 300, 16});
  Given given = bare(4, 4, 4);
  given["base_rate"] = 1.0;
  CHECK(distance_to_dense("vattention", given, data) < 1e-5);
  given = bare(4, 4, 4);
  given["eps"] = 1e-9;
  CHECK(distance_to_dense("vattention", given, data) < 1e-5);
  CHECK(distance_to_dense("vattention", bare(0, 0, 1000000000), data) < 1e-5);
}

TEST_CASE("vAttention's heavy tokens by product-quantised keys, and what either way reads") {
  // 64 centroids a part remember 60 keys exactly: the same tokens are heavy.
  const RandomCache data({1, 1, 60, 16});
  Given given = bare(2, 2, 8);
  given["base_rate"] = 0.2;
  const auto exact = HeadPolicy("vattention", given, data.head()).select(data.group());
  given["scores"] = std::string("pq");
  HeadPolicy policy("vattention", given, data.head());
  const auto pq = policy.select(data.group());
  CHECK(pq.heads[0].tokens == exact.heads[0].tokens);
  CHECK(pq.heads[0].log_weights == exact.heads[0].log_weights);
  CHECK(exact.cost[0][Stage::kEstimate].bytes == 60 * 32);  // an oracle reads every key
  // Codes of 2 x 6 bits, centroids, and those of the base sample's 10 keys that are not attended.
  const double keys = (pq.cost[0][Stage::kEstimate].bytes - 60 * 2 * 6 / 8 - 60 * 32) / 32;
  CHECK(keys == std::floor(keys));
  CHECK(keys >= 0);
  CHECK(keys <= 10);
  CHECK(policy.policy->index_cost().memory_bytes == 60 * 2 * 6 / 8 + 60 * 32);

  const PolicyInfo& info = PolicyRegistry::instance().find("vattention");
  CHECK(info.oracle_priced(resolve(info, {})));
  CHECK(!info.oracle_priced(resolve(info, given)));
  CHECK(!info.oracle_priced(resolve(info, bare(2, 2, 0))));
}

TEST_CASE("vAttention's denominator is unbiased over 10,000 seeds") {
  const RandomCache data({1, 1, 60, 8});
  Given given = bare(2, 2, 4);
  given["eps"] = 0.3, given["base_rate"] = 0.1;
  const auto [mean, error] = mean_and_error(10000, [&](std::uint64_t seed) {
    PolicyContext context;
    context.seed = seed;
    const auto out = HeadPolicy("vattention", given, data.head(), context).select(data.group());
    return relative_denominator(data.head(), data.group(), 0, out.heads[0]);
  });
  CHECK(error > 0);
  CHECK(error < 0.01);
  CHECK(std::abs(mean - 1) < 3 * error);
}

TEST_CASE("vAttention repeats bit for bit, and differs by step, head and seed") {
  const RandomCache data({1, 2, 400, 16}, 3);
  const auto draw = [&](std::uint64_t seed, std::int64_t step) {
    PolicyContext context;
    context.seed = seed;
    QueryGroup group = data.group();
    group.step = step;
    Given given = bare(4, 4, 4);
    given["eps"] = 0.5;
    return HeadPolicy("vattention", given, data.head(), context).select(group);
  };
  const auto once = draw(1, 0);
  CHECK(once.heads[0].tokens == draw(1, 0).heads[0].tokens);
  CHECK(once.heads[0].log_weights == draw(1, 0).heads[0].log_weights);
  CHECK(once.heads[0].tokens != draw(1, 1).heads[0].tokens);
  CHECK(once.heads[0].tokens != draw(2, 0).heads[0].tokens);
  CHECK(once.heads[0].tokens != once.heads[1].tokens);
}
