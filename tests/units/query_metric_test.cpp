// Is the metric that of the queries, and do clusters follow it?
#include "core/index/query_metric.h"

#include <cmath>

#include "core/index/cluster_index.h"
#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// Positions of one head: queries along the first axis, `noise` times as long along the others.
QueryHistory along_first_axis(std::int64_t positions, int d, double noise) {
  QueryHistory history(positions);
  const CounterRng rng(7, 1);
  for (std::int64_t i = 0; i < positions; ++i) {
    std::vector<float> q(d);
    for (int j = 0; j < d; ++j)
      q[j] = static_cast<float>(rng.normal(i * d + j) * (j == 0 ? 1 : noise));
    history.add(QueryGroup{q.data(), 1, d, 1, i});
  }
  return history;
}

}  // namespace

TEST_CASE("the moment is the mean outer product over positions and heads, scaled to trace d") {
  QueryHistory history(4);
  const float first[4] = {1, 0, 0, 2}, second[4] = {3, 0, 0, 0};  // two heads of two dimensions
  history.add(QueryGroup{first, 2, 2, 1, 0});
  history.add(QueryGroup{second, 2, 2, 1, 1});
  // Sums of squares 1 + 9 and 4; times 2 / 14.
  const MatrixD moment = query_moment(history, 0, 2);
  CHECK(moment(0, 0) == Approx(20.0 / 14));
  CHECK(moment(1, 1) == Approx(8.0 / 14));
  CHECK(moment(0, 1) == Approx(0).margin(1e-12));
  CHECK(effective_rank(moment) ==
        Approx(4 / (moment(0, 0) * moment(0, 0) + moment(1, 1) * moment(1, 1))));
}

TEST_CASE("the history keeps the last positions, and the prompt's queries come by position") {
  QueryHistory history(2);
  const float rows[6] = {1, 10, 2, 20, 3, 30};  // three positions, two heads of one dimension
  history.add(PrefillQueries{rows, 3, 2, 1, 2});
  REQUIRE(history.positions() == 2);
  CHECK(history.at(0)(0, 0) == 2);
  CHECK(history.at(1)(1, 0) == 30);
  const float more[2] = {4, 40};
  history.add(QueryGroup{more, 2, 1, 1, 0});
  REQUIRE(history.positions() == 2);
  CHECK(history.at(0)(0, 0) == 3);
  CHECK(history.at(1)(1, 0) == 40);
}

TEST_CASE("the root of the metric squares to the moment plus rho") {
  const QueryHistory history = along_first_axis(40, 5, 0.2);
  const MatrixD moment = query_moment(history, 0, 40);
  const MatrixD root = metric_root(moment, 0.3);
  CHECK((root * root - moment - 0.3 * MatrixD::Identity(5, 5)).norm() < 1e-12);
  CHECK((root - root.transpose()).norm() < 1e-12);
}

TEST_CASE("clusters follow the queries, not the longer axis, and centroids stay plain means") {
  // Two groups by the first axis, which the queries look along; the second axis is wider.
  const HandCache cache(2, {1, 9, 1, -9, -1, -9, -1, 9}, {0, 0, 0, 0, 0, 0, 0, 0});
  ClusteringOptions options;
  options.clusters = 2;  // starts from the tokens 0 and 2, which differ along both axes
  const auto together = [](const ClusterIndex& index, std::int32_t a, std::int32_t b) {
    for (std::int64_t c = 0; c < index.num_clusters(); ++c) {
      const auto m = index.members(c);
      if (std::find(m.begin(), m.end(), a) != m.end())
        return std::find(m.begin(), m.end(), b) != m.end();
    }
    return false;
  };
  const auto euclidean = ClusterIndex::build(cache.head(), 0, 4, options);
  CHECK(together(euclidean, 0, 3));
  CHECK(together(euclidean, 1, 2));
  MatrixD warp = MatrixD::Zero(2, 2);
  warp(0, 0) = 1, warp(1, 1) = 0.01;
  options.warp = std::make_shared<const MatrixD>(warp);
  const auto query = ClusterIndex::build(cache.head(), 0, 4, options);
  CHECK(together(query, 0, 1));
  CHECK(together(query, 2, 3));
  for (std::int64_t c = 0; c < 2; ++c) {
    CHECK(std::abs(query.centroids()(c, 0)) == 1);
    CHECK(query.centroids()(c, 1) == 0);
  }
}

TEST_CASE("cross-validation trusts many queries of one kind and falls back where it cannot judge") {
  CHECK(cross_validated_rho(along_first_axis(64, 8, 0.1)) <= 0.1);
  // No direction of their own: shrinking costs nothing, and little is kept of the sample's noise.
  CHECK(cross_validated_rho(along_first_axis(64, 8, 1)) >= 3);
  // Too short to be divided.
  CHECK(std::isinf(cross_validated_rho(along_first_axis(7, 8, 0.1))));
}

TEST_CASE("metric: query says what is missing where a trace has no prefill queries") {
  const RandomCache cache({});
  const std::string message = message_of([&] {
    HeadPolicy("double_p", {{"metric", std::string("query")}}, cache.head());
  });
  CHECK(contains(message, "prefill_queries"));
  CHECK(contains(message, "metric_source"));
  // auto falls back to the Euclidean metric: the same clusters.
  HeadPolicy fallback("double_p", {{"metric", std::string("auto")}}, cache.head());
  HeadPolicy plain("double_p", {}, cache.head());
  const auto a = fallback.select(cache.group()), b = plain.select(cache.group());
  for (int h = 0; h < cache.shape.group; ++h) CHECK(a.heads[h].tokens == b.heads[h].tokens);
}

TEST_CASE("from the first steps the index is built anew once, and the step is charged for it") {
  RandomCache cache({1, 2, 300, 16, 12});
  HeadPolicy policy("double_p",
                    {{"metric", std::string("query")},
                     {"metric_source", std::string("steps")},
                     {"metric_queries", std::int64_t{8}}},
                    cache.view().first(280).head(0));
  const double before = policy.policy->index_cost().build.flops;
  for (std::int64_t t = 0; t < 8; ++t) {
    policy.select(cache.group(0, t));
    CHECK(policy.policy->index_cost().build.flops == before);
    if (t < 7) policy.append(cache.view().first(281 + t).head(0));
  }
  policy.append(cache.view().first(288).head(0));
  const double after = policy.policy->index_cost().build.flops;
  CHECK(after > before);
  policy.select(cache.group(0, 8));
  policy.append(cache.view().first(289).head(0));
  CHECK(policy.policy->index_cost().build.flops == after);
}
