#include "core/selection/curve_fit.h"
#include "tests/catch.h"
#include "tests/support/dense_limit.h"

using namespace doublep;
using namespace doublep::test;

TEST_CASE("the curve goes through both points, and never rises") {
  const Curve curve = fit_curve(2, 3 / 2.0 + 0.5, 10, 3 / 10.0 + 0.5);
  CHECK(curve.a == Approx(3));
  CHECK(curve.b == Approx(0.5));
  CHECK(curve.at(6) == Approx(1));
  CHECK(fit_curve(2, 1, 10, 3).at(5) == 2);  // rising: flat at the mean
  CHECK(fit_curve(4, 1, 4, 3).at(5) == 2);
  CHECK(fit_curve(1, 1, 2, 0).at(100) == 0);  // falls below 0: nothing there
}

TEST_CASE("a fitted prefix by hand") {
  // Ten tokens of weight 1, known at two places; 2 beside them are held. Half of 12 is 6: 4 more.
  CurveSamples samples;
  samples.length = 10;
  samples.runs = {{1, {0, 0}}, {7, {0}}};
  samples.held = {0, 0};
  CHECK(samples.size() == 5);
  CHECK(fitted_prefix(samples, 0.5) == 4);
  CHECK(fitted_prefix(samples, 0.51) == 5);
  CHECK(fitted_prefix(samples, 0.1) == 0);  // what is held is enough
  CHECK(fitted_prefix(samples, 1) == 10);
  // A head of weight 8 known exactly: 8 of 8 + 9 + 2.
  samples.head = {std::log(8.0)};
  CHECK(fitted_prefix(samples, 10 / 19.0 - 1e-9) == 1);
  CHECK(fitted_prefix(samples, 10 / 19.0 + 1e-9) == 2);
  CHECK(fitted_prefix({}, 0.5) == 0);
}

TEST_CASE("weights that follow a/x + b are found from two runs") {
  CurveSamples samples;
  samples.length = 2000;
  std::vector<double> weights;
  for (int x = 1; x <= 2000; ++x) weights.push_back(5.0 / x + 0.01);
  const auto run = [&](std::int64_t begin, std::int64_t size) {
    std::vector<double> logits;
    for (std::int64_t i = begin; i < begin + size; ++i) logits.push_back(std::log(weights[i]));
    return logits;
  };
  samples.head = run(0, 40);
  samples.runs = {{200, run(200, 20)}, {1200, run(1200, 20)}};
  double total = 0;
  for (double w : weights) total += w;
  for (double p : {0.3, 0.5, 0.9}) {
    std::int64_t exact = 0;
    for (double sum = 0; sum < p * total;) sum += weights[exact++];
    CHECK(std::abs(fitted_prefix(samples, p) - exact) <= 1 + exact / 50);
  }
}

TEST_CASE("Tactic by hand: clusters in order of q.C until the mass is there") {
  // Three pairs of equal keys with weights 8, 4, 1 each: 26 in all. All are sampled as the head.
  const float l = std::log(2.0f);
  const HandCache cache(1, {2 * l, 2 * l, 0, 0, 3 * l, 3 * l}, std::vector<float>(6, 1.0f));
  const std::vector<float> query = {1};
  const auto chosen = [&](double p) {
    const Given given = {{"p", p},
                         {"tokens_per_cluster", std::int64_t{2}},
                         {"head", std::int64_t{6}},
                         {"sink", std::int64_t{0}},
                         {"window", std::int64_t{0}}};
    return HeadPolicy("tactic", given, cache.head())
        .select({query.data(), 1, 1, 1, 0})
        .heads[0]
        .tokens;
  };
  CHECK(chosen(0.3) == Tokens{4, 5});  // one token would do: a cluster is never cut
  CHECK(chosen(0.6) == Tokens{4, 5});
  CHECK(chosen(0.7) == Tokens{0, 1, 4, 5});
  CHECK(chosen(0.95) == Tokens{0, 1, 2, 3, 4, 5});
}

TEST_CASE("Tactic's weighed keys are charged once: not again where they are attended") {
  // Zone {0, 7} of weight 1; pairs of weight 4, 1, 8. The head is all six; {5, 6} hold p. Of the
  // keys weighed, those of tokens 1 to 4 are read beside what attend reads.
  const float l = std::log(2.0f);
  const HandCache cache(1, {0, 2 * l, 2 * l, 0, 0, 3 * l, 3 * l, 0}, std::vector<float>(8, 1.0f));
  const std::vector<float> query = {1};
  const Given given = {{"p", 0.3},
                       {"tokens_per_cluster", std::int64_t{2}},
                       {"head", std::int64_t{6}},
                       {"sink", std::int64_t{1}},
                       {"window", std::int64_t{1}}};
  const auto out = HeadPolicy("tactic", given, cache.head()).select({query.data(), 1, 1, 1, 0});
  CHECK(out.heads[0].tokens == std::vector<std::int32_t>{0, 5, 6, 7});
  CHECK(out.cost[0][Stage::kEstimate].bytes == 3 * (2 + 4) + 4 * 2);  // centroids, sizes, keys
  // 6 of the head and 6 of either run at d = 1; the zone's logits are attend's.
  CHECK(out.cost[0][Stage::kEstimate].flops == 3 * (2 + 2) + 18 * 3);
}

TEST_CASE("Tactic with p = 1 is dense; the group shares a union") {
  const RandomCache data({2, 4, 700, 32});
  CHECK(distance_to_dense("tactic", {{"p", 1.0}}, data) < 1e-5);
  const auto joint = HeadPolicy("tactic", {{"p", 0.6}}, data.head()).select(data.group());
  const auto apart =
      HeadPolicy("tactic", {{"p", 0.6}, {"gqa", std::string("per_head")}}, data.head())
          .select(data.group());
  std::vector<std::int32_t> all;
  for (const Selection& head : apart.heads)
    all.insert(all.end(), head.tokens.begin(), head.tokens.end());
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  for (const Selection& head : joint.heads) {
    CHECK(head.tokens == all);
    CHECK(head.target_p == 0.6);
  }
  CHECK(all.size() < 700);
}
