#include "core/index/projected_keys.h"
#include "tests/catch.h"
#include "tests/support/dense_limit.h"

using namespace doublep;
using namespace doublep::test;

namespace {
const std::int64_t kOne = 1;
Given with_zone(Given given, std::int64_t sink, std::int64_t window) {
  given["sink"] = sink, given["window"] = window;
  return given;
}
}  // namespace

TEST_CASE("Double Sparsity by hand: the channel of largest mean |q k| decides") {
  // Mean |k|: 2, 3; times |q| = 3, 1: 6, 3. Channel 0 ranks tokens 2, 0; channel 1 tokens 1, 0.
  const HandCache cache(2, {1, 3, -2, 5, 3, -1}, std::vector<float>(6, 1.0f));
  const std::vector<float> query = {3, 1};
  const QueryGroup group{query.data(), 1, 2, 1, 0};
  Given given = with_zone({{"channels", kOne}, {"budget", std::int64_t{2}}}, 0, 0);
  CHECK(HeadPolicy("double_sparsity", given, cache.head()).select(group).heads[0].tokens ==
        Tokens{0, 2});
  given["calibration"] = std::string("k");
  CHECK(HeadPolicy("double_sparsity", given, cache.head()).select(group).heads[0].tokens ==
        Tokens{0, 1});
}

TEST_CASE("Double Sparsity by hand: channels by |q| alone, and labels of few bits") {
  // |q| names channel 0 although the keys hardly use it: tokens 2, 1. |q k| names channel 1.
  const HandCache cache(2, {-0.2f, 9, 0.1f, -9, 0.3f, -8}, std::vector<float>(6, 1.0f));
  const std::vector<float> query = {2, 1};
  Given given = with_zone({{"channels", kOne}, {"budget", std::int64_t{2}}}, 0, 0);
  const auto chosen = [&](const char* calibration) {
    given["calibration"] = std::string(calibration);
    return HeadPolicy("double_sparsity", given, cache.head())
        .select({query.data(), 1, 2, 1, 0})
        .heads[0]
        .tokens;
  };
  CHECK(chosen("q") == Tokens{1, 2});
  CHECK(chosen("qk") == Tokens{0, 2});

  // 2 bits between 0 and 3: 1.4 is remembered as 1, 1.6 as 2.
  const HandCache fine(3, {0, 3, 1.4f, 3, 0, 1.6f, 0, 3, 1.45f}, std::vector<float>(9, 1.0f));
  MatrixD basis = MatrixD::Identity(3, 3);
  ProjectedKeys labels(KvDtype::kBf16, 2);
  labels.set_basis(basis);
  labels.extend(fine.head());
  const std::vector<float> last = {0, 0, 1};
  const MatrixD scores = labels.scores({last.data(), 1, 3, 1, 0});
  CHECK(scores(0, 0) == 1);
  CHECK(scores(0, 1) == 2);
  CHECK(scores(0, 2) == 1);
  CHECK(labels.cost().memory_bytes == 3 * (3 * 2 / 8.0 + 4) + 4 * 3);
}

TEST_CASE("channels stay as the first step chose them, for tokens that join too") {
  const HandCache cache(2, {1, 3, -2, 5, 3, -1, 9, -9}, std::vector<float>(8, 1.0f));
  const std::vector<float> first = {3, 1}, later = {1, 100};
  HeadPolicy policy("double_sparsity",
                    with_zone({{"channels", kOne}, {"budget", std::int64_t{1}}}, 0, 0),
                    cache.first(3));
  CHECK(policy.select({first.data(), 1, 2, 1, 0}).heads[0].tokens == Tokens{2});
  policy.append(cache.head());
  CHECK(policy.select({later.data(), 1, 2, 1, 1}).heads[0].tokens == Tokens{3});
}

TEST_CASE("with every channel it is the top-k by true weight; with every token, dense") {
  const RandomCache data({1, 2, 200, 16});
  const Given all = {{"channels", std::int64_t{16}},
                     {"label_bits", std::int64_t{0}},
                     {"budget", std::int64_t{40}},
                     {"sink", std::int64_t{0}},
                     {"window", std::int64_t{0}}};
  const Given same = {
      {"budget", std::int64_t{40}}, {"sink", std::int64_t{0}}, {"window", std::int64_t{0}}};
  const auto found = HeadPolicy("double_sparsity", all, data.head()).select(data.group());
  const auto oracle = HeadPolicy("oracle_top_k", same, data.head()).select(data.group());
  for (int h = 0; h < 2; ++h) CHECK(found.heads[h].tokens == oracle.heads[h].tokens);
  CHECK(distance_to_dense("double_sparsity", {{"budget", std::int64_t{200}}}, data) < 1e-5);
}

TEST_CASE("labels are charged to the prompt once, whoever calibrates") {
  const RandomCache data({1, 4, 100, 64});
  HeadPolicy policy("double_sparsity", {{"budget", std::int64_t{20}}}, data.head());
  const Work before = policy.policy->index_cost().build;
  const auto out = policy.select(data.group());
  CHECK(policy.policy->index_cost().build.bytes == before.bytes);
  CHECK(before.bytes == 2 * 100 * 64 * 2.0);  // once to calibrate, once to label
  // Labels of 8 channels: 4 bits each, and a minimum and a step.
  CHECK(out.cost[0][Stage::kEstimate].bytes == 100 * (8 * 4 / 8 + 4) / 4.0);
  CHECK(out.cost[0][Stage::kEstimate].flops == 4 * 100 * 8.0);
  CHECK(policy.policy->index_cost().memory_bytes == 100 * (8 * 4 / 8 + 4) + 4 * 8.0);
}

TEST_CASE("a budget below sink and window is raised to them") {
  const RandomCache data({1, 1, 50, 16});
  const Given given = {
      {"budget", std::int64_t{5}}, {"sink", std::int64_t{4}}, {"window", std::int64_t{3}}};
  CHECK(HeadPolicy("double_sparsity", given, data.head()).select(data.group()).heads[0].tokens ==
        Tokens{0, 1, 2, 3, 47, 48, 49});
}
