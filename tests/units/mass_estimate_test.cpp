// Are the estimates of cluster mass what they claim: Jensen's never above the truth, the second
// order right for spread clusters?
#include "core/index/mass_estimate.h"

#include "core/cache/logits.h"
#include "core/trace/trace.h"
#include "tests/catch.h"
#include "tests/support/brute_force.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

double true_log_mass(const MatrixD& logits, int h, std::span<const std::int32_t> members) {
  std::vector<double> x;
  for (std::int32_t j : members) x.push_back(logits(h, j));
  return log_sum_exp(x);
}

ClusterIndex one_cluster(const HandCache& cache, const std::vector<float>& centroid) {
  const MatrixF c = ConstMapF(centroid.data(), 1, cache.head_dim);
  return ClusterIndex::from_assignment(cache.head(), 0, cache.tokens(), c,
                                       std::vector<std::int32_t>(cache.tokens(), 0));
}

}  // namespace

TEST_CASE("Jensen's bound holds for every cluster of needle-4k, every layer and step") {
  const Trace trace = Trace::open(needle_4k());
  const TraceInfo& info = trace.info();
  std::int64_t checked = 0, broken = 0;
  double gap = 0;
  for (int layer : info.layers) {
    const TraceLayer data = trace.read_layer(layer);
    for (int kv = 0; kv < info.num_kv_heads; ++kv) {
      const KvHead cache = trace.cache(data).first(info.positions[0] + 1).head(kv);
      const auto index = ClusterIndex::build(cache, 4, cache.length - 64, {});
      for (std::int64_t t = 0; t < info.num_steps(); ++t) {
        const QueryGroup group = trace.queries(data, t).group(kv, info.num_kv_heads);
        const MatrixD logits = exact_logits(group, cache);
        const MatrixD estimate = estimate_log_masses(index, group, Estimator::kJensen);
        for (int h = 0; h < group.size; ++h)
          for (std::int64_t c = 0; c < index.num_clusters(); ++c) {
            if (index.size(c) == 0) continue;
            const double truth = true_log_mass(logits, h, index.members(c));
            // The centroid is the mean rounded to float32: 2^-24 of |q| |C| scale in the logit.
            const double slack = 2e-7 * group.softmax_scale *
                                 ConstRowF(group.query(h), info.head_dim).norm() *
                                 index.centroids().row(c).norm();
            ++checked, broken += estimate(h, c) > truth + slack;
            gap += truth - estimate(h, c);
          }
      }
    }
  }
  CHECK(checked > 100000);
  CHECK(broken == 0);
  CHECK(gap / static_cast<double>(checked) > 0.1);  // it is a bound, not an identity
}

TEST_CASE("both estimates are exact for a cluster of equal keys and for single keys") {
  const HandCache cache(2, {1, -2, 1, -2, 1, -2}, std::vector<float>(6, 0));
  const auto index = one_cluster(cache, {1, -2});
  const float q[2] = {3, 0.5f};
  const QueryGroup group{q, 1, 2, 0.5, 0};
  for (Estimator e : {Estimator::kJensen, Estimator::kSecondOrder})
    CHECK(estimate_log_masses(index, group, e)(0, 0) == Approx(std::log(3.0) + 0.5 * (3 - 1)));
}

TEST_CASE("both estimates by hand for two keys") {
  // d = 1, keys 1 and 3, q = 0.5, scale 2: logits 1 and 3, C = 2, u = 1.
  // jensen: 2 e^2; second order: 2 exp(2 + 1 * 0.25 * 4 / 2) = 2 e^2.5; true: e + e^3.
  const HandCache cache(1, {1, 3}, {0, 0});
  const auto index = one_cluster(cache, {2});
  const float q = 0.5f;
  const QueryGroup group{&q, 1, 1, 2.0, 0};
  CHECK(estimate_log_masses(index, group, Estimator::kJensen)(0, 0) == Approx(std::log(2) + 2));
  CHECK(estimate_log_masses(index, group, Estimator::kSecondOrder)(0, 0) ==
        Approx(std::log(2) + 2.5));
}

TEST_CASE("second order is exact to the fourth order for a cross around the centroid") {
  // Keys C +- a e_i in every dimension: true mass 2 e^{q.C} sum_i cosh(a q_i); per-dimension
  // variance a^2/d, so log z - log truth = O(a^4), where jensen's error is a^2 |q|^2 / (2 d).
  constexpr int d = 6;
  const std::vector<float> centroid = {1, -1, 0.5f, 2, 0, -0.25f};
  const float q[d] = {0.3f, -0.7f, 0.2f, 0.5f, -0.4f, 0.6f};
  const QueryGroup group{q, 1, d, 1.0, 0};
  double q2 = 0;
  for (float x : q) q2 += x * x;
  for (double a : {0.5, 0.25, 0.125}) {
    std::vector<float> keys;
    for (int i = 0; i < d; ++i)
      for (double sign : {-1.0, 1.0})
        for (int j = 0; j < d; ++j)
          keys.push_back(centroid[j] + static_cast<float>(i == j ? sign * a : 0));
    const HandCache cache(d, keys, std::vector<float>(keys.size(), 0));
    const auto index = one_cluster(cache, centroid);
    std::vector<std::int32_t> all(2 * d);
    for (int j = 0; j < 2 * d; ++j) all[j] = j;
    const double truth = true_log_mass(exact_logits(group, cache.head()), 0, all);
    const double jensen = estimate_log_masses(index, group, Estimator::kJensen)(0, 0);
    const double second = estimate_log_masses(index, group, Estimator::kSecondOrder)(0, 0);
    CHECK(truth - jensen == Approx(a * a * q2 / (2 * d)).epsilon(0.05));
    CHECK(std::abs(truth - second) < 0.05 * a * a * a * a * q2 * q2 + 1e-6);
  }
}

TEST_CASE("second order gives the mass of a Gaussian cluster") {
  constexpr int d = 8, n = 20000;
  const CounterRng rng(3);
  std::vector<float> keys(n * d), centroid(d, 0.0f);
  for (int i = 0; i < n * d; ++i) keys[i] = static_cast<float>(0.8 * rng.normal(i));
  const HandCache cache(d, keys, std::vector<float>(keys.size(), 0));
  const auto index = one_cluster(cache, centroid);
  std::vector<float> q(d, 0.4f);  // u |q|^2 / 2 = 0.64 * 1.28 / 2 = 0.41
  const QueryGroup group{q.data(), 1, d, 1.0, 0};
  std::vector<std::int32_t> all(n);
  for (int j = 0; j < n; ++j) all[j] = j;
  const double truth = true_log_mass(exact_logits(group, cache.head()), 0, all);
  // Three standard errors of the mean of exp(x), x normal with variance 0.82: 3 sqrt(1.27 / n).
  CHECK(estimate_log_masses(index, group, Estimator::kSecondOrder)(0, 0) ==
        Approx(truth).margin(0.024));
  CHECK(truth - estimate_log_masses(index, group, Estimator::kJensen)(0, 0) > 0.35);
}

TEST_CASE("a cluster without members has no mass") {
  const HandCache cache(1, {1}, {1});
  const auto index = ClusterIndex::from_assignment(
      cache.head(), 0, 1, MatrixF::Constant(2, 1, 1.0f), std::vector<std::int32_t>{0});
  const float q = 1;
  const QueryGroup group{&q, 1, 1, 1.0, 0};
  for (Estimator e : {Estimator::kJensen, Estimator::kSecondOrder})
    CHECK(estimate_log_masses(index, group, e)(0, 1) == -std::numeric_limits<double>::infinity());
}
