// The error that a step foresees of itself: by hand, where nothing can be foreseen, and in rows.
#include <cmath>

#include "core/attention/attend.h"
#include "core/index/cluster_index.h"
#include "core/index/mass_estimate.h"
#include "core/metrics/step_metrics.h"
#include "tests/catch.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// One dimension of keys and values. Clusters {0, 1} (keys 0 and 2, values 1 and 3) and {2, 3} (keys
// 0 and 1, values 5 and 5), then a token by itself.
struct TwoClusters {
  HandCache cache{1, {0, 2, 0, 1, 0}, {1, 3, 5, 5, 4}};
  std::shared_ptr<const ClusterIndex> index = std::make_shared<const ClusterIndex>(
      ClusterIndex::from_assignment(cache.head(), 0, 4, (MatrixF(2, 1) << 1, 0.5f).finished(),
                                    std::vector<std::int32_t>{0, 0, 1, 1}));
  float q[1] = {0.5f};
  QueryGroup group{q, 1, 1, 1, 0};

  Selection selection() const {
    Selection s;
    s.tokens = {4}, s.index = index;
    s.terms = {{0, std::log(2.0)}, {1, std::log(1.0)}};
    return s;
  }
};

}  // namespace

TEST_CASE("predicted error of two clusters, by hand") {
  const TwoClusters two;
  // Weights 2, 1 and 1 of 4; the output is given: 3.
  const float output[1] = {3};
  const double p0 = 0.5, p1 = 0.25;
  // Variances of keys 1 and 1/4, of logits a quarter of that, q = 1/2 squared.
  const double f0 = (std::exp(0.25) - 1) / 2, f1 = (std::exp(0.0625) - 1) / 2;
  // Mean values 2 and 5, spreads 1 and 0.
  const double squared = p0 * p0 * f0 * ((2 - 3.0) * (2 - 3.0) + 1) + p1 * p1 * f1 * 4.0;
  CHECK(predicted_error(two.selection(), two.group, 0, 5, output, 1, std::log(4.0)) ==
        Approx(std::sqrt(squared) / 3));
  // Refining a cluster takes its part away.
  Selection refined = two.selection();
  refined.tokens = {2, 3, 4}, refined.terms.pop_back();
  CHECK(predicted_error(refined, two.group, 0, 5, output, 1, std::log(4.0)) ==
        Approx(std::sqrt(p0 * p0 * f0 * 2) / 3));
}

TEST_CASE("predicted error: the pooled shape, and the bound of one token with all the weight") {
  // Keys of a cluster vary in the first dimension only: S = diag(2, 0), u = 1/2.
  const HandCache cache(2, {-1, 0, 1, 0, 5, 5}, {1, 0, 3, 0, 0, 1});
  auto made = ClusterIndex::from_assignment(cache.head(), 0, 2, MatrixF::Zero(1, 2),
                                            std::vector<std::int32_t>{0, 0});
  made.add_moments(cache.head(), {.key_shape = true});
  Selection s;
  s.tokens = {2}, s.terms = {{0, 0.0}};
  s.index = std::make_shared<const ClusterIndex>(std::move(made));
  const float output[2] = {2, 0};
  const auto predicted = [&](float q0, float q1) {
    const float q[2] = {q0, q1};
    return predicted_error(s, QueryGroup{q, 1, 2, 1, 0}, 0, 3, output, 2, 0);
  };
  CHECK(predicted(0, 9) == 0);  // no key varies there
  CHECK(predicted(0.5f, 9) == Approx(std::sqrt((std::exp(0.25) - 1) / 2) / 2));
  CHECK(predicted(5, 0) == Approx(std::sqrt(0.5) / 2));
}

TEST_CASE("no error is foreseen of what is left out or sampled, and none where all is exact") {
  const TwoClusters two;
  const float output[1] = {3}, zero[1] = {0};
  Selection s = two.selection();
  s.terms.pop_back();
  CHECK(std::isnan(predicted_error(s, two.group, 0, 5, output, 1, 0)));
  s.terms.clear();
  CHECK(std::isnan(predicted_error(s, two.group, 0, 5, output, 1, 0)));
  s.tokens = {0, 1, 2, 3, 4};
  CHECK(predicted_error(s, two.group, 0, 5, output, 1, 0) == 0);
  s.log_weights = {0, 0, 0, 0, 1};
  CHECK(std::isnan(predicted_error(s, two.group, 0, 5, output, 1, 0)));
  // Without a length to compare with it is absolute.
  s = two.selection(), s.terms.pop_back(), s.tokens = {2, 3, 4};
  CHECK(predicted_error(s, two.group, 0, 5, zero, 1, std::log(4.0)) ==
        Approx(std::sqrt(0.25 * (std::exp(0.25) - 1) / 2 * 5)));
}

TEST_CASE("rows hold the predicted error of every policy that leaves nothing out") {
  const Trace trace = Trace::open(needle_4k());
  ReplayOptions options;
  options.max_steps = 4;
  for (const char* name : {"double_p", "retroinfer"}) {
    double logs[5] = {};
    int n = 0;
    for (const Row& row :
         replay_policy(trace, name, {{"outside", text("estimate")}, {"estimator", text("pooled")}},
                       options)
             .rows) {
      REQUIRE(row.predicted_error > 0);
      CHECK(std::isnan(row.error_factor));
      CHECK(row.error_violation == 0);
      const double x = std::log(row.predicted_error), y = std::log(row.output_error);
      ++n, logs[0] += x, logs[1] += y, logs[2] += x * x, logs[3] += y * y, logs[4] += x * y;
    }
    const double correlation =
        (n * logs[4] - logs[0] * logs[1]) /
        std::sqrt((n * logs[2] - logs[0] * logs[0]) * (n * logs[3] - logs[1] * logs[1]));
    INFO(name);
    CHECK(correlation > 0.7);
  }
  for (const Row& row : replay_policy(trace, "dense", {}, options).rows)
    CHECK(row.predicted_error == 0);
  for (const char* name : {"double_p", "streaming", "vattention", "quest"})
    for (const Row& row : replay_policy(trace, name, {}, options).rows)
      CHECK(std::isnan(row.predicted_error));
}
