// RetroInfer and ClusterKV, and the stages they brought: spherical clustering, indexes that join.
#include "core/index/cluster_index.h"
#include "core/index/kmeans.h"
#include "tests/catch.h"
#include "tests/support/dense_limit.h"

using namespace doublep;
using namespace doublep::test;

namespace {
Given with(Given given, std::int64_t sink, std::int64_t window, std::int64_t per_cluster) {
  given["sink"] = sink, given["window"] = window, given["tokens_per_cluster"] = per_cluster;
  return given;
}
ClusteringOptions spherical(bool centre, bool global, std::int64_t segment) {
  ClusteringOptions options;
  options.kmeans.normalise = true;
  options.centre = centre, options.global_pass = global, options.segment = segment;
  return options;
}
}  // namespace

TEST_CASE("cosine clusters go by direction, not by length") {
  MatrixF points(6, 2);
  points << 1, 0.1f, 0.1f, 1, 90, 1, 1, 80, 0.5f, 0, 0, 0.5f;
  KmeansOptions options;
  options.clusters = 2, options.normalise = true;
  const auto by_cosine = kmeans(points, options).assignment;
  CHECK(by_cosine == Tokens{0, 1, 0, 1, 0, 1});
  options.normalise = false;
  CHECK(kmeans(points, options).assignment != by_cosine);
}

TEST_CASE("centroids of an index are means of its members, however they were found") {
  const RandomCache data({1, 1, 500, 16});
  for (const auto& options : {spherical(false, false, 0), spherical(true, true, 200),
                              spherical(true, false, 200), spherical(false, true, 200)}) {
    const auto index = ClusterIndex::build(data.head(), 4, 436, options);
    std::size_t tokens = 0;
    double worst = 0;
    for (std::int64_t c = 0; c < index.num_clusters(); ++c) {
      Eigen::RowVectorXd mean = Eigen::RowVectorXd::Zero(16);
      for (std::int32_t j : index.members(c))
        mean += ConstRowF(data.head().key(j), 16).cast<double>();
      tokens += index.members(c).size();
      if (index.size(c) == 0) continue;
      mean /= static_cast<double>(index.size(c));
      worst =
          std::max(worst, (index.centroids().row(c).cast<double>() - mean).cwiseAbs().maxCoeff());
    }
    CHECK(tokens == 432);
    CHECK(worst < 1e-6);
    CHECK(index.build_work().flops > 0);
  }
}

TEST_CASE("only the global pass may put a token into another segment's cluster") {
  const RandomCache data({1, 1, 400, 16});
  const auto crossing = [&](const ClusteringOptions& options) {
    const auto index = ClusterIndex::build(data.head(), 0, 400, options);
    int crossed = 0;
    for (std::int64_t c = 0; c < index.num_clusters(); ++c)
      for (std::int32_t j : index.members(c)) crossed += j / 100 != index.members(c)[0] / 100;
    return crossed;
  };
  CHECK(crossing(spherical(true, false, 100)) == 0);
  CHECK(crossing(spherical(true, true, 100)) > 0);
}

TEST_CASE("joined indexes keep every cluster of both") {
  const RandomCache data({1, 1, 300, 16});
  const auto a = ClusterIndex::build(data.head(), 4, 164, {});
  const auto b = ClusterIndex::build(data.head(), 164, 260, {});
  const auto both = ClusterIndex::joined(data.head(), a, b);
  CHECK(both.begin() == 4);
  CHECK(both.end() == 260);
  REQUIRE(both.num_clusters() == 16);
  CHECK(both.mean_values().topRows(10) == a.mean_values());
  CHECK(both.mean_values().bottomRows(6) == b.mean_values());
  CHECK(both.variances().tail(6) == b.variances());
  for (std::int64_t c = 0; c < 6; ++c)
    CHECK(Tokens(both.members(10 + c).begin(), both.members(10 + c).end()) ==
          Tokens(b.members(c).begin(), b.members(c).end()));
}

TEST_CASE("RetroInfer by hand: the group's sum ranks, sizes do not") {
  // Clusters {0,1,2}, {3}, {4}, {5} at four directions; heads look along the second and the third.
  HandCache cache(3, {1, 1, 1, 1, 1, 1, 1, 1, 1, 5, 0, 0, 0, 5, 0, 0, 0, -5},
                  std::vector<float>(18, 1.0f));
  const std::vector<float> queries = {2, 0, 0, 0, 1, 0};
  const QueryGroup group{queries.data(), 2, 3, 1, 0};
  Given given = with({{"retrieval", 0.25}, {"estimation", 0.25}}, 0, 0, 1);
  given["clusters"] = std::int64_t{6};  // one key each; equal keys share one, two stay empty
  const auto out = HeadPolicy("retroinfer", given, cache.head()).select(group);
  // softmax(q.C) of the first head is all on token 3, of the second nearly all on token 4.
  for (const Selection& head : out.heads) {
    CHECK(head.tokens == Tokens{3});
    REQUIRE(head.terms.size() == 1);
    CHECK(head.index->members(head.terms[0].cluster)[0] == 4);
    CHECK(std::isnan(head.target_p));
  }
  CHECK(out.heads[1].terms[0].log_mass == Approx(5));
  CHECK(out.heads[0].terms[0].log_mass == Approx(0).margin(1e-9));
}

TEST_CASE("RetroInfer with every other cluster estimated leaves none out") {
  HandCache cache(3, {1, 1, 1, 1, 1, 1, 1, 1, 1, 5, 0, 0, 0, 5, 0, 0, 0, -5},
                  std::vector<float>(18, 1.0f));
  const std::vector<float> queries = {2, 0, 0, 0, 1, 0};
  Given given = with({{"retrieval", 0.25}, {"outside", std::string("estimate")}}, 0, 0, 1);
  given["clusters"] = std::int64_t{6};
  const auto out =
      HeadPolicy("retroinfer", given, cache.head()).select({queries.data(), 2, 3, 1, 0});
  for (const Selection& head : out.heads) {
    CHECK(head.tokens == Tokens{3});
    Tokens inside;
    for (const ClusterTerm& term : head.terms)
      for (std::int32_t j : head.index->members(term.cluster)) inside.push_back(j);
    std::sort(inside.begin(), inside.end());
    CHECK(inside == Tokens{0, 1, 2, 4, 5});
  }
}

TEST_CASE("RetroInfer that retrieves every cluster is dense") {
  const RandomCache data({2, 4, 500, 32});
  CHECK(distance_to_dense("retroinfer", {{"retrieval", 1.0}, {"estimation", 0.0}}, data) < 1e-5);
  CHECK(distance_to_dense("retroinfer", {}, data) > 1e-3);
}

TEST_CASE("RetroInfer clusters generated tokens as a segment of their own") {
  const RandomCache data({1, 2, 700, 16});
  const auto upto = [&](std::int64_t n) {
    KvHead head = data.head();
    head.length = n;
    return head;
  };
  Given given = with(
      {{"recluster_every", std::int64_t{96}}, {"retrieval", 1.0}, {"estimation", 0.0}}, 4, 64, 16);
  HeadPolicy policy("retroinfer", given, upto(404));
  const double before = policy.policy->index_cost().build.flops;
  policy.append(upto(499));
  CHECK(policy.policy->index_cost().build.flops == before);
  policy.append(upto(500));  // the 96 tokens that left the window make 6 clusters
  const auto out = policy.select(data.group());
  CHECK(out.heads[0].index->end() == 436);
  CHECK(out.heads[0].index->num_clusters() == 27);
  CHECK(out.heads[0].tokens.size() == 500);
  const double grown = policy.policy->index_cost().build.flops - before;
  CHECK(grown > 0);
  CHECK(grown < before / 4);  // the prompt was not clustered again
}

TEST_CASE("ClusterKV by hand: the last cluster is cut to the budget") {
  // Clusters {0, 2, 4} along x and {1, 3, 5} along y; q.C is higher along y.
  const HandCache cache(2, {2, 0, 0, 2, 2, 0.1f, 0.1f, 2, 2, 0, 0, 2},
                        std::vector<float>(12, 1.0f));
  const std::vector<float> query = {1, 2};
  const QueryGroup group{query.data(), 1, 2, 1, 0};
  const auto chosen = [&](std::int64_t budget, std::int64_t sink) {
    return HeadPolicy("cluster_kv", with({{"budget", budget}}, sink, 0, 3), cache.head())
        .select(group)
        .heads[0]
        .tokens;
  };
  CHECK(chosen(3, 0) == Tokens{1, 3, 5});
  CHECK(chosen(5, 0) == Tokens{0, 1, 2, 3, 5});
  CHECK(chosen(2, 0) == Tokens{1, 3});
  CHECK(chosen(0, 0).empty());
  CHECK(chosen(6, 0) == Tokens{0, 1, 2, 3, 4, 5});
  CHECK(chosen(1, 2) == Tokens{0, 1});  // a budget below the sinks is raised to them
}

TEST_CASE("ClusterKV by hand: the mean of the group's queries ranks for all of it") {
  // The first head wants x, the second y and more so: their mean (0.5, 1) ranks y first.
  const HandCache cache(2, {2, 0, 0, 2, 2, 0.1f, 0.1f, 2, 2, 0, 0, 2},
                        std::vector<float>(12, 1.0f));
  const std::vector<float> queries = {1, 0, 0, 2};
  const QueryGroup group{queries.data(), 2, 2, 1, 0};
  Given given = with({{"budget", std::int64_t{3}}}, 0, 0, 3);
  const auto apart = HeadPolicy("cluster_kv", given, cache.head()).select(group);
  CHECK(apart.heads[0].tokens == Tokens{0, 2, 4});
  CHECK(apart.heads[1].tokens == Tokens{1, 3, 5});
  given["gqa"] = std::string("group_query");
  const auto joint = HeadPolicy("cluster_kv", given, cache.head()).select(group);
  for (const Selection& head : joint.heads) CHECK(head.tokens == Tokens{1, 3, 5});
  // Two centroids of two: one ranking's work, split over the heads.
  CHECK(joint.cost[0][Stage::kEstimate].flops == apart.cost[0][Stage::kEstimate].flops / 2);
  CHECK(joint.cost[0][Stage::kEstimate].bytes == 2 * (2 * 2 + 4) / 2.0);
}

TEST_CASE("ClusterKV with the budget of all is dense, and never exceeds one beyond its sinks") {
  const RandomCache data({2, 4, 600, 32});
  CHECK(distance_to_dense("cluster_kv", {{"budget", std::int64_t{600}}}, data) < 1e-5);
  for (const auto& [budget, tokens] : std::vector<std::pair<ParamValue, std::size_t>>{
           {i64(1), 16}, {i64(16), 16}, {i64(17), 17}, {i64(300), 300}, {0.5, 300}}) {
    const auto out =
        HeadPolicy("cluster_kv", {{"budget", budget}}, data.head()).select(data.group());
    for (const Selection& head : out.heads) CHECK(head.tokens.size() == tokens);
  }
}

TEST_CASE("ClusterKV clusters generated tokens 320 at a time") {
  const RandomCache data({1, 1, 736, 16});
  KvHead prompt = data.head();
  prompt.length = 416;  // 16 sinks and five clusters of 80
  HeadPolicy policy("cluster_kv", {}, prompt);
  CHECK(policy.select(data.group()).cost[0][Stage::kEstimate].flops == 5 * 2 * 16.0);
  prompt.length = 735;
  policy.append(prompt);
  CHECK(policy.select(data.group()).cost[0][Stage::kEstimate].flops == 5 * 2 * 16.0);
  policy.append(data.head());
  CHECK(policy.select(data.group()).cost[0][Stage::kEstimate].flops == 9 * 2 * 16.0);
}
