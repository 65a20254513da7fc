#include "core/index/sim_hash.h"
#include "tests/catch.h"
#include "tests/support/dense_limit.h"

using namespace doublep;
using namespace doublep::test;

namespace {
Given tables(std::int64_t bits, std::int64_t count) {
  return {
      {"bits", bits}, {"tables", count}, {"sink", std::int64_t{0}}, {"window", std::int64_t{0}}};
}
}  // namespace

TEST_CASE("the probability of two collisions by hand") {
  CHECK(two_collisions(1, 10, 150) == 1);
  CHECK(two_collisions(-1, 10, 150) == Approx(0).margin(1e-15));
  CHECK(two_collisions(0, 1, 2) == Approx(0.25));       // both of two fair bits
  CHECK(two_collisions(0, 2, 2) == Approx(1 / 16.0));   // both of two tables at 1/4
  CHECK(two_collisions(0, 1, 3) == Approx(0.5));        // two or three of three fair bits
  CHECK(two_collisions(0.5, 1, 2) == Approx(4 / 9.0));  // 60 degrees: 2/3 a bit
  CHECK(two_collisions(1, 4, 1) == 0);                  // one table cannot collide twice
}

TEST_CASE("two vectors agree in a bit with probability 1 - angle / pi") {
  MatrixF pair(2, 3);
  pair << 1, 0, 0, 0.5f, std::sqrt(0.75f), 0;  // 60 degrees
  int agreed = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const auto codes = SimHash(1, 100, 3, CounterRng(seed)).codes(pair);
    for (int t = 0; t < 100; ++t) agreed += codes[2 * t] == codes[2 * t + 1];
  }
  CHECK(std::abs(agreed - 10000 * 2 / 3.0) < 3 * std::sqrt(10000 * 2 / 9.0));
}

TEST_CASE("a hash is the sides of its planes, whatever the vector's length") {
  const RandomCache data({1, 1, 70, 16});
  const ConstMapF keys(data.keys.data(), 70, 16);
  const SimHash hash(12, 3, 16, CounterRng(5));
  CHECK(hash.codes(keys) == hash.codes(1024 * keys));
  std::vector<std::uint16_t> flipped = hash.codes(-keys);
  for (auto& code : flipped) code ^= 0xFFF;
  CHECK(hash.codes(keys) == flipped);
  CHECK(hash.codes(MatrixF::Zero(1, 16))[0] == 0xFFF);  // on every plane
}

TEST_CASE("MagicPIG by hand: keys on the query's side, and against it") {
  // The keys' mean is 0: tokens 0 and 1 point where the query does, 2 and 3 the other way.
  const HandCache cache(2, {1, 0, 3, 0, -2, 0, -2, 0}, std::vector<float>(8, 1.0f));
  const std::vector<float> query = {5, 0};
  const auto head = HeadPolicy("magicpig", tables(4, 6), cache.head())
                        .select({query.data(), 1, 2, 1, 0})
                        .heads[0];
  CHECK(head.tokens == std::vector<std::int32_t>{0, 1});
  CHECK(head.log_weights == std::vector<float>{0, 0});  // certain to be found
}

TEST_CASE("MagicPIG is dense where the tables find every key") {
  const RandomCache data({2, 4, 150, 32});
  CHECK(distance_to_dense("magicpig", tables(1, 400), data) < 1e-4);
  Given zone = tables(10, 2);
  zone["window"] = std::int64_t{150};
  CHECK(distance_to_dense("magicpig", zone, data) < 1e-5);
  CHECK(distance_to_dense("magicpig", tables(10, 2), data) > 1e-2);
}

TEST_CASE("MagicPIG's denominator is unbiased over 10,000 seeds") {
  const RandomCache data({1, 1, 24, 4}, 1, 1.5);
  Given given = tables(2, 4);
  given["sink"] = std::int64_t{2};
  const auto [mean, error] = mean_and_error(10000, [&](std::uint64_t seed) {
    PolicyContext context;
    context.seed = seed;
    const auto out = HeadPolicy("magicpig", given, data.head(), context).select(data.group());
    return relative_denominator(data.head(), data.group(), 0, out.heads[0]);
  });
  CHECK(error > 0);
  CHECK(error < 0.02);
  CHECK(std::abs(mean - 1) < 3 * error);
}

TEST_CASE("generated tokens are exact, and stay so as the window moves on") {
  const RandomCache data({1, 2, 120, 16});
  KvHead prompt = data.head();
  prompt.length = 100;
  Given given = tables(10, 2);
  given["window"] = std::int64_t{3};
  HeadPolicy policy("magicpig", given, prompt);
  const Work build = policy.policy->index_cost().build;
  policy.append(data.head());
  const auto out = policy.select(data.group());
  for (const Selection& head : out.heads) {
    REQUIRE(head.tokens.size() == head.log_weights.size());
    REQUIRE(head.tokens.size() >= 23);
    for (std::int32_t j = 97; j < 120; ++j) {
      const auto at = head.tokens.size() - 120 + static_cast<std::size_t>(j);
      CHECK(head.tokens[at] == j);
      CHECK(head.log_weights[at] == 0);
    }
  }
  CHECK(policy.policy->index_cost().build.flops == build.flops);  // nothing is hashed in a step
}

TEST_CASE("one matrix of hyperplanes: the same for every head and layer, charged to none") {
  const RandomCache data({1, 2, 120, 16});
  const auto selected = [&](int layer, int kv_head, std::uint64_t seed) {
    PolicyContext context;
    context.layer = layer, context.kv_head = kv_head, context.seed = seed;
    return HeadPolicy("magicpig", tables(6, 20), data.head(), context)
        .select(data.group())
        .heads[0]
        .tokens;
  };
  CHECK(selected(0, 0, 1) == selected(7, 1, 1));
  CHECK(selected(0, 0, 1) != selected(0, 0, 2));
  HeadPolicy policy("magicpig", tables(4, 20), data.head());
  const IndexCost index = policy.policy->index_cost();
  // 4 bytes an entry and a norm a token, 2^4 bucket offsets a table.
  CHECK(index.memory_bytes == 4 * 20 * (120 + 16) + 4 * 120);
  CHECK(index.build.bytes == 2 * 120 * 16 * 2);
  CHECK(index.build.flops == 120 * 2 * 80 * 16 + 4 * 120 * 16);
  // A key on the query's side and one against it: 20 entries are found, and two offsets a table.
  const HandCache two(2, {1, 0, -1, 0}, std::vector<float>(4, 1.0f));
  const std::vector<float> query = {5, 0};
  const auto out =
      HeadPolicy("magicpig", tables(4, 20), two.head()).select({query.data(), 1, 2, 1, 0});
  CHECK(out.cost[0][Stage::kEstimate].bytes == 4 * 20 + 8 * 20);
}

TEST_CASE("a weight is 1e4 at most") {
  // A key at right angles agrees in both of two tables of 7 bits with probability 2^-14.
  CHECK(two_collisions(0, 7, 2) == Approx(std::exp2(-14)));
  const HandCache cache(2, {0, 1, 0, -1}, std::vector<float>(4, 1.0f));
  const std::vector<float> query = {1, 0};
  std::vector<float> weights;
  for (std::uint64_t seed = 0; seed < 60000 && weights.empty(); ++seed) {
    PolicyContext context;
    context.seed = seed;
    weights = HeadPolicy("magicpig", tables(7, 2), cache.head(), context)
                  .select({query.data(), 1, 2, 1, 0})
                  .heads[0]
                  .log_weights;
  }
  REQUIRE(weights.size() == 1);
  CHECK(weights[0] == Approx(std::log(1e4)));  // not log 2^14
}
