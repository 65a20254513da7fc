// Are ground truth and metrics METHODS' definitions, by hand and against long double?
#include <limits>

#include "core/index/cluster_index.h"
#include "core/metrics/step_metrics.h"
#include "tests/catch.h"
#include "tests/support/brute_force.h"
#include "tests/support/random_cache.h"

using namespace doublep;
using namespace doublep::test;

namespace {
// Weights 1/8, 4/8, 2/8, 1/8 of values 0, 1, 2, 4 in the first dimension and 1 in the second:
// output (0.5 + 0.5 + 0.5, 1) = (1.5, 1); log-sum-exp ln 8.
struct FourTokens {
  HandCache cache{2, {0, 0, std::log(4.0f), 0, std::log(2.0f), 0, 0, 0}, {0, 1, 1, 1, 2, 1, 4, 1}};
  float q[2] = {1, 0};
  GroundTruth truth = GroundTruth::of(cache.head(), QueryGroup{q, 1, 2, 1.0, 0});
};
}  // namespace

TEST_CASE("ground truth by hand") {
  const FourTokens four;
  CHECK(four.truth.weights(0, 0) == Approx(0.125));
  CHECK(four.truth.weights(0, 1) == Approx(0.5));
  CHECK(four.truth.outputs(0, 0) == Approx(1.5));
  CHECK(four.truth.outputs(0, 1) == Approx(1));
  CHECK(four.truth.log_sum_exp[0] == Approx(std::log(8)));
}

TEST_CASE("metrics by hand") {
  const FourTokens four;
  Selection s;
  s.tokens = {0, 1};
  MatrixF centroid = MatrixF::Zero(2, 2);
  s.index = std::make_shared<const ClusterIndex>(ClusterIndex::from_assignment(
      four.cache.head(), 2, 4, centroid, std::vector<std::int32_t>{0, 1}));
  s.terms = {{0, 0.0}};
  const float output[2] = {1.5f, 2.0f};
  const StepMetrics m = measure(four.truth, 0, s, output, std::log(6.0));
  CHECK(m.visible_tokens == 4);
  CHECK(m.exact_tokens == 2);
  CHECK(m.approximated_clusters == 1);
  CHECK(m.exact_mass == Approx(0.625));
  CHECK(m.covered_mass == Approx(0.875));
  CHECK(m.oracle_tokens == 2);  // 0.5 + 0.25 >= 0.625
  CHECK(m.output_error == Approx(1 / std::sqrt(3.25)));
  CHECK(m.cosine == Approx((1.5 * 1.5 + 2) / (std::sqrt(3.25) * 2.5)));
  CHECK(m.lse_error == Approx(std::log(8.0 / 6)));
}

TEST_CASE("the oracle needs no token more for the same tokens") {
  // What is selected is the best set already: its own sum must not ask for another one.
  const RandomCache cache({1, 1, 500, 16});
  const GroundTruth truth = GroundTruth::of(cache.head(), cache.group());
  std::vector<std::int32_t> order(500);
  for (std::int32_t j = 0; j < 500; ++j) order[j] = j;
  std::sort(order.begin(), order.end(),
            [&](auto a, auto b) { return truth.weights(0, a) > truth.weights(0, b); });
  const std::vector<float> output(16, 0.0f);
  for (std::size_t n : {0, 1, 10, 123, 499, 500}) {
    Selection s;
    s.tokens.assign(order.begin(), order.begin() + n);
    std::sort(s.tokens.begin(), s.tokens.end());
    CHECK(measure(truth, 0, s, output.data(), 0).oracle_tokens == static_cast<std::int64_t>(n));
  }
}

TEST_CASE("nothing attended, and an output of zero") {
  FourTokens four;
  const float zero[2] = {0, 0}, some[2] = {3, 4};
  const auto none = measure(four.truth, 0, {}, zero, -std::numeric_limits<double>::infinity());
  CHECK(none.exact_mass == 0);
  CHECK(none.oracle_tokens == 0);
  CHECK(none.output_error == Approx(1));
  CHECK(none.cosine == 0);
  CHECK(std::isinf(none.lse_error));
  four.truth.outputs.setZero();
  CHECK(measure(four.truth, 0, {}, zero, 0).output_error == 0);
  CHECK(measure(four.truth, 0, {}, zero, 0).cosine == 1);
  CHECK(measure(four.truth, 0, {}, some, 0).output_error == Approx(5));
  CHECK(measure(four.truth, 0, {}, some, 0).cosine == 0);
}

TEST_CASE("ground truth against long double, with logits near a thousand") {
  for (float stretch : {1.0f, 60.0f}) {
    RandomCache cache({1, 3, 600, 64});
    for (float& k : cache.keys) k *= stretch;
    const GroundTruth truth = GroundTruth::of(cache.head(), cache.group());
    for (int h = 0; h < 3; ++h) {
      const auto w = brute_weights(cache.head(), cache.group(), h);
      double worst = 0, sum = 0;
      for (std::int64_t j = 0; j < 600; ++j) {
        worst = std::max(worst, static_cast<double>(std::abs(truth.weights(h, j) - w[j])));
        sum += truth.weights(h, j);
      }
      CHECK(worst < 1e-12);
      CHECK(sum == Approx(1).epsilon(1e-13));
    }
  }
}
