#include "tests/catch.h"
#include "tests/support/dense_limit.h"

using namespace doublep;
using namespace doublep::test;
using Tokens = std::vector<std::int32_t>;

namespace {
const std::int64_t kOne = 1;
}  // namespace

TEST_CASE("Double Sparsity by hand: the channel of largest mean |q k| decides") {
  // Mean |k|: 2, 3; times |q| = 3, 1: 6, 3. Channel 0 ranks tokens 2, 0; channel 1 tokens 1, 0.
  const HandCache cache(2, {1, 3, -2, 5, 3, -1}, std::vector<float>(6, 1.0f));
  const std::vector<float> query = {3, 1};
  const QueryGroup group{query.data(), 1, 2, 1, 0};
  Given given = {{"channels", kOne}, {"budget", 2.0}};
  CHECK(HeadPolicy("double_sparsity", given, cache.head()).select(group).heads[0].tokens ==
        Tokens{0, 2});
  given["calibration"] = std::string("k");
  CHECK(HeadPolicy("double_sparsity", given, cache.head()).select(group).heads[0].tokens ==
        Tokens{0, 1});
}

TEST_CASE("channels stay as the first step chose them, for tokens that join too") {
  const HandCache cache(2, {1, 3, -2, 5, 3, -1, 9, -9}, std::vector<float>(8, 1.0f));
  const std::vector<float> first = {3, 1}, later = {1, 100};
  HeadPolicy policy("double_sparsity", {{"channels", kOne}, {"budget", 1.0}}, cache.first(3));
  CHECK(policy.select({first.data(), 1, 2, 1, 0}).heads[0].tokens == Tokens{2});
  policy.append(cache.head());
  CHECK(policy.select({later.data(), 1, 2, 1, 1}).heads[0].tokens == Tokens{3});
}

TEST_CASE("with every channel it is the top-k by true weight; with every token, dense") {
  const RandomCache data({1, 2, 200, 16});
  const Given all = {{"channels", std::int64_t{16}}, {"budget", 40.0}};
  const Given same = {{"budget", 40.0}, {"sink", std::int64_t{0}}, {"window", std::int64_t{0}}};
  const auto found = HeadPolicy("double_sparsity", all, data.head()).select(data.group());
  const auto oracle = HeadPolicy("oracle_top_k", same, data.head()).select(data.group());
  for (int h = 0; h < 2; ++h) CHECK(found.heads[h].tokens == oracle.heads[h].tokens);
  CHECK(distance_to_dense("double_sparsity", {{"budget", 200.0}}, data) < 1e-5);
}

TEST_CASE("labels are charged to the prompt once, whoever calibrates") {
  const RandomCache data({1, 4, 100, 64});
  HeadPolicy policy("double_sparsity", {{"budget", 20.0}}, data.head());
  const Work before = policy.policy->index_cost().build;
  const auto out = policy.select(data.group());
  CHECK(policy.policy->index_cost().build.bytes == before.bytes);
  CHECK(before.bytes == 2 * 100 * 64 * 2.0);  // once to calibrate, once to label
  CHECK(out.cost[0][Stage::kEstimate].bytes == 100 * 8 * 2 / 4.0);
  CHECK(out.cost[0][Stage::kEstimate].flops == 2 * 100 * 8.0);
  CHECK(policy.policy->index_cost().memory_bytes == 100 * 8 * 2 + 4 * 8.0);
}

TEST_CASE("a budget below sink and window cuts them, sinks first") {
  const RandomCache data({1, 1, 50, 16});
  const Given given = {{"budget", 5.0}, {"sink", std::int64_t{4}}, {"window", std::int64_t{64}}};
  CHECK(HeadPolicy("double_sparsity", given, data.head()).select(data.group()).heads[0].tokens ==
        Tokens{0, 1, 2, 3, 49});
}
