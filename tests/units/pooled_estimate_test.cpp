// Does the pooled covariance see what the isotropic variance cannot, and stay sober where a cluster
// is wider than its tokens can tell?
#include <cmath>

#include "core/index/mass_estimate.h"
#include "tests/catch.h"
#include "tests/support/random_cache.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// One cluster around the origin, spread by 2 along the first axis and by 0.5 along the second.
ClusterIndex crossed() {
  const HandCache cache(2, {2, 0, -2, 0, 0, 0.5f, 0, -0.5f}, std::vector<float>(8, 0));
  ClusterIndex index = ClusterIndex::from_assignment(cache.head(), 0, 4, MatrixF::Zero(1, 2),
                                                     std::vector<std::int32_t>(4, 0));
  IndexMoments wanted;
  wanted.key_shape = true;
  index.add_moments(cache.head(), wanted);
  return index;
}

}  // namespace

TEST_CASE("the key shape is the pooled covariance of trace d, and gives a cluster its own again") {
  const ClusterIndex index = crossed();
  // Variances 8/4 and 0.5/4; u is their mean.
  const double u = (2 + 0.125) / 2;
  CHECK(index.variances()[0] == Approx(u));
  CHECK(index.key_shape()(0, 0) == Approx(2 / u));
  CHECK(index.key_shape()(1, 1) == Approx(0.125 / u));
  CHECK(index.key_shape()(0, 1) == Approx(0).margin(1e-7));
  CHECK(index.key_shape().trace() == Approx(2));
}

TEST_CASE("the pooled estimate weighs a query by the channels that keys really share") {
  const ClusterIndex index = crossed();
  const float along[2] = {1, 0}, across[2] = {0, 1};
  const double scale = 0.5;
  for (const auto& [q, variance] : {std::pair{along, 2.0}, std::pair{across, 0.125}}) {
    const QueryGroup group{q, 1, 2, scale, 0};
    CHECK(logit_variances(index, group)(0, 0) == Approx(variance * scale * scale));
    CHECK(estimate_log_masses(index, group, Estimator::kPooled)(0, 0) ==
          Approx(std::log(4.0) + variance * scale * scale / 2));
    // The isotropic variance cannot tell the two apart.
    CHECK(estimate_log_masses(index, group, Estimator::kSecondOrder)(0, 0) ==
          Approx(std::log(4.0) + (2 + 0.125) / 2 * scale * scale / 2));
  }
}

TEST_CASE("a cluster wider than its tokens can tell weighs as its largest token typically does") {
  CHECK(log_mean_weight(1, 16) == Approx(0.5));
  CHECK(log_mean_weight(0, 16) == 0);
  const double edge = 2 * std::log(16.0);
  CHECK(log_mean_weight(edge, 16) == Approx(edge / 2));
  CHECK(log_mean_weight(edge * 1.0001, 16) == Approx(edge / 2 * 1.0001).epsilon(1e-4));  // smooth
  CHECK(log_mean_weight(16, 16) == Approx(std::sqrt(32 * std::log(16.0)) - std::log(16.0)));
  CHECK(log_mean_weight(100, 1) == 0);  // one token has no spread
  // Against draws: the median of log(mean exp) over many clusters of 16 tokens of variance 16.
  const CounterRng rng(3, 3);
  std::vector<double> found;
  for (int trial = 0; trial < 2001; ++trial) {
    double sum = 0;
    for (int j = 0; j < 16; ++j) sum += std::exp(4 * rng.normal(trial * 16 + j));
    found.push_back(std::log(sum / 16));
  }
  std::nth_element(found.begin(), found.begin() + 1000, found.end());
  CHECK(found[1000] < log_mean_weight(16, 16));  // so few draws stay below even their own limit
  CHECK(log_mean_weight(16, 16) < 8.0);          // the Gaussian's mean is farther off
}
