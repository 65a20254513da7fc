// Does a cluster index hold every token of its range once, with the right means and variances?
#include "core/index/cluster_index.h"

#include "tests/catch.h"
#include "tests/support/random_cache.h"

using namespace doublep;
using namespace doublep::test;
using Indices = std::vector<std::int32_t>;

namespace {

Indices to_vector(std::span<const std::int32_t> s) { return {s.begin(), s.end()}; }

ClusteringOptions clustering(std::int64_t per_cluster, std::int64_t segment = 0) {
  ClusteringOptions options;
  options.tokens_per_cluster = per_cluster, options.segment = segment;
  return options;
}

// Tokens of [begin, end) that are not in exactly one cluster, or out of order there.
int misplaced(const ClusterIndex& index, std::int64_t begin, std::int64_t end) {
  std::vector<int> seen(end, 0);
  int wrong = index.begin() != begin || index.end() != end;
  for (std::int64_t c = 0; c < index.num_clusters(); ++c) {
    std::int32_t previous = -1;
    wrong += index.size(c) != static_cast<std::int64_t>(index.members(c).size());
    for (std::int32_t j : index.members(c)) {
      if (j < begin || j >= end || j <= previous)
        ++wrong;
      else
        ++seen[j];
      previous = j;
    }
  }
  for (std::int64_t j = begin; j < end; ++j) wrong += seen[j] != 1;
  return wrong;
}

}  // namespace

TEST_CASE("means and variances by hand") {
  // d = 2. Tokens 1..4 of five: cluster 0 = {1, 3}, cluster 1 = none, cluster 2 = {2, 4}.
  const HandCache cache(2, {9, 9, 0, 0, 4, 4, 2, 2, 4, 8}, {9, 9, 1, 2, 3, 4, 5, 6, 7, 8});
  MatrixF centroids(3, 2);
  centroids << 1, 1, 100, 100, 4, 6;
  const auto index =
      ClusterIndex::from_assignment(cache.head(), 1, 5, centroids, Indices{0, 2, 0, 2});
  CHECK(to_vector(index.members(0)) == Indices{1, 3});
  CHECK(index.members(1).empty());
  CHECK(to_vector(index.members(2)) == Indices{2, 4});
  CHECK(index.mean_values()(0, 0) == 3);  // (1 + 5) / 2
  CHECK(index.mean_values()(0, 1) == 4);
  CHECK(index.mean_values()(1, 0) == 0);
  CHECK(index.mean_values()(2, 1) == 6);
  // (0,0) and (2,2) around (1,1): squared distances 2 and 2, over 2 members and 2 dimensions.
  CHECK(index.variances()[0] == 1);
  CHECK(index.variances()[1] == 0);
  CHECK(index.variances()[2] == 2);  // (4,4), (4,8) around (4,6): 4 and 4, over 4
}

TEST_CASE("an index as it was before later tokens came, by hand") {
  // Clusters {1, 3}, none and {2, 4} again; what is left before token 4 is {1, 3}, none and {2}.
  const HandCache cache(2, {9, 9, 0, 0, 4, 4, 2, 2, 4, 8}, {9, 9, 1, 2, 3, 4, 5, 6, 7, 8});
  const auto index = ClusterIndex::from_assignment(
      cache.head(), 1, 5, (MatrixF(3, 2) << 1.5f, 1, 100, 100, 4, 6).finished(),
      Indices{0, 2, 0, 2});
  const auto left = index.until(cache.head(), 4);
  CHECK(left.begin() == 1);
  CHECK(left.end() == 4);
  CHECK(to_vector(left.members(0)) == Indices{1, 3});
  CHECK(left.members(1).empty());
  CHECK(to_vector(left.members(2)) == Indices{2});
  CHECK(left.centroids()(0, 0) == 1.5f);  // lost nobody: as it was, even where it is no mean
  CHECK(left.centroids()(1, 0) == 100);
  CHECK(left.centroids().row(2) == (MatrixF(1, 2) << 4, 4).finished());
  CHECK(left.mean_values().row(2) == (MatrixF(1, 2) << 3, 4).finished());
  CHECK(left.variances()[2] == 0);
  CHECK(left.value_spreads()[2] == 0);
  CHECK(index.until(cache.head(), 5).centroids() == index.centroids());
  CHECK(index.until(cache.head(), 1).members(0).empty());
}

TEST_CASE("the members of a built index partition its range") {
  const RandomCache cache({1, 1, 500, 12});
  for (std::int64_t segment : {0, 64, 100, 499, 5000})
    for (std::int64_t per : {1, 3, 16, 1000}) {
      const auto index = ClusterIndex::build(cache.head(), 4, 436, clustering(per, segment));
      CHECK(misplaced(index, 4, 436) == 0);
      if (segment == 0) CHECK(index.num_clusters() == std::max<std::int64_t>(1, 432 / per));
    }
}

TEST_CASE("segments are clustered each on its own") {
  const RandomCache cache({1, 1, 300, 8});
  const auto index = ClusterIndex::build(cache.head(), 10, 290, clustering(10, 100));
  // 280 tokens: segments of 100, 100 and 80, with 10, 10 and 8 clusters.
  REQUIRE(index.num_clusters() == 28);
  int crossing = 0;
  for (std::int64_t c = 0; c < 28; ++c)
    for (std::int32_t j : index.members(c))
      crossing += (j - 10) / 100 != std::min<std::int64_t>(c / 10, 2);
  CHECK(crossing == 0);
  const auto alone = ClusterIndex::build(cache.head(), 110, 210, clustering(10));
  CHECK(index.centroids().middleRows(10, 10) == alone.centroids());
  CHECK(to_vector(index.members(13)) == to_vector(alone.members(3)));
}

TEST_CASE("a number of clusters instead of a size, shared among segments") {
  const RandomCache cache({1, 1, 210, 8});
  auto options = clustering(16, 100);
  options.clusters = 21;  // 100 : 100 : 10 tokens
  CHECK(ClusterIndex::build(cache.head(), 0, 210, options).num_clusters() == 21);
  options.segment = 0, options.clusters = 100000;
  CHECK(ClusterIndex::build(cache.head(), 0, 210, options).num_clusters() == 210);
}

TEST_CASE("an empty range gives an index without clusters") {
  const RandomCache cache({1, 1, 10, 8});
  const auto index = ClusterIndex::build(cache.head(), 7, 7, clustering(16));
  CHECK(index.num_clusters() == 0);
  CHECK(index.memory_bytes(KvDtype::kBf16) == 0);
  CHECK(index.build_work().flops == 0);
}

TEST_CASE("memory and build work, counted by hand") {
  const RandomCache cache({1, 1, 64, 8});
  auto options = clustering(16);
  options.kmeans.iterations = 3;
  const auto index = ClusterIndex::build(cache.head(), 0, 64, options);
  // 4 clusters of 2 vectors of 8 bf16, 3 numbers of 4 bytes; 64 member ids of 4 bytes.
  CHECK(index.memory_bytes(KvDtype::kBf16) == 4 * (2 * 8 * 2 + 12) + 64 * 4);
  CHECK(index.memory_bytes(KvDtype::kFp32) == 4 * (2 * 8 * 4 + 12) + 64 * 4);
  // Three passes over points and centroids: n k multiply-adds of length d, and n d to sum means.
  CHECK(index.build_work().flops == 3.0 * (2 * 64 * 4 * 8 + 64 * 8));
  CHECK(index.build_work().bytes == 3.0 * 4 * (64 + 4) * 8);
}
