// The per-dimension estimate: right where the variance differs by dimension, bounded everywhere.
#include <cmath>

#include "core/cache/logits.h"
#include "core/index/mass_estimate.h"
#include "tests/catch.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

constexpr IndexMoments kPerDimension{true, false};

ClusterIndex one_cluster_with_variances(const HandCache& cache,
                                        const std::vector<float>& centroid) {
  auto index = ClusterIndex::from_assignment(cache.head(), 0, cache.tokens(),
                                             ConstMapF(centroid.data(), 1, cache.head_dim),
                                             std::vector<std::int32_t>(cache.tokens(), 0));
  index.add_moments(cache.head(), kPerDimension);
  return index;
}

double estimate(const ClusterIndex& index, const QueryGroup& group, Estimator e) {
  return estimate_log_masses(index, group, e)(0, 0);
}

}  // namespace

TEST_CASE("variance counts in the dimension that the query looks at") {
  const HandCache cache(2, {-1, 0, 1, 0}, std::vector<float>(4, 0));
  const auto index = one_cluster_with_variances(cache, {0, 0});
  CHECK(index.dimension_variances()(0, 0) == 1);
  CHECK(index.dimension_variances()(0, 1) == 0);
  CHECK(index.radii()[0] == Approx(1).epsilon(1e-6));
  const float along[2] = {0.5f, 0}, across[2] = {0, 0.5f};
  const QueryGroup q{along, 1, 2, 1.0, 0}, p{across, 1, 2, 1.0, 0};
  CHECK(estimate(index, q, Estimator::kDiagonal) == Approx(std::log(2) + 0.125));
  CHECK(estimate(index, p, Estimator::kDiagonal) == Approx(std::log(2)));
  CHECK(estimate(index, p, Estimator::kSecondOrder) == Approx(std::log(2) + 0.0625));
}

TEST_CASE("an isotropic cluster has the second-order mass") {
  constexpr int d = 5;
  std::vector<float> keys;
  for (int i = 0; i < d; ++i)
    for (float sign : {-0.75f, 0.75f})
      for (int j = 0; j < d; ++j) keys.push_back(i == j ? sign : 0);
  const HandCache cache(d, keys, std::vector<float>(keys.size(), 0));
  const auto index = one_cluster_with_variances(cache, std::vector<float>(d, 0));
  const float q[d] = {0.3f, -0.7f, 0.2f, 0.5f, -0.4f};
  const QueryGroup group{q, 1, d, 0.5, 0};
  CHECK(estimate(index, group, Estimator::kDiagonal) ==
        Approx(estimate(index, group, Estimator::kSecondOrder)).epsilon(1e-6));
}

TEST_CASE("no estimate exceeds what keys at the cluster's radius could weigh") {
  const RandomCache cache({1, 3, 300, 12}, 5);
  ClusteringOptions options;
  options.tokens_per_cluster = 20, options.moments = kPerDimension;
  const auto index = ClusterIndex::build(cache.head(), 0, 300, options);
  for (double size : {1.0, 10.0, 1e3, 1e15}) {
    std::vector<float> queries(cache.queries.begin(), cache.queries.begin() + 3 * 12);
    for (float& x : queries) x *= static_cast<float>(size);
    const QueryGroup group{queries.data(), 3, 12, cache.scale(), 0};
    const MatrixD jensen = estimate_log_masses(index, group, Estimator::kJensen);
    const MatrixD diagonal = estimate_log_masses(index, group, Estimator::kDiagonal);
    for (int h = 0; h < 3; ++h)
      for (std::int64_t c = 0; c < index.num_clusters(); ++c) {
        const double reach = ConstRowF(group.query(h), 12).cast<double>().norm() * cache.scale() *
                             static_cast<double>(index.radii()[c]);
        REQUIRE(std::isfinite(diagonal(h, c)));
        REQUIRE(diagonal(h, c) >= jensen(h, c));
        REQUIRE(diagonal(h, c) <= jensen(h, c) + reach * (1 + 1e-12));
        if (size >= 1e3 && reach > 0)  // the bound is what holds here, not the variance
          REQUIRE(diagonal(h, c) == Approx(jensen(h, c) + reach));
      }
  }
}

TEST_CASE("moments are held, and charged, only where they are asked for") {
  const RandomCache cache({1, 2, 200, 16});
  const auto plain = ClusterIndex::build(cache.head(), 0, 200, {});
  ClusteringOptions options;
  options.moments = kPerDimension;
  const auto diagonal = ClusterIndex::build(cache.head(), 0, 200, options);
  CHECK(plain.dimension_variances().size() == 0);
  CHECK(plain.value_map().size() == 0);
  const double k = static_cast<double>(plain.num_clusters());
  CHECK(diagonal.memory_bytes(KvDtype::kBf16) - plain.memory_bytes(KvDtype::kBf16) ==
        k * (16 * 2 + 4));
  const auto bytes = [&](const char* estimator) {
    HeadPolicy policy("cluster_top_k", {{"estimator", std::string(estimator)}}, cache.head());
    return policy.select(cache.group()).cost[0][Stage::kEstimate].bytes;
  };
  const double clusters = (200 - 68) / 16;  // a vector per cluster, shared by two heads
  CHECK(bytes("diagonal") - bytes("second_order") == clusters * 16 * 2 / 2);
}
