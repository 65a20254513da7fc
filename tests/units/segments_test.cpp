// How tokens are parted before k-means: all at once as far as that is affordable, and what was
// asked for otherwise.
#include "core/index/segments.h"

#include "core/index/cluster_index.h"
#include "tests/catch.h"
#include "tests/support/random_cache.h"

using namespace doublep;
using namespace doublep::test;

namespace {

std::vector<std::int32_t> points_of(std::int64_t tokens, std::int64_t segment) {
  std::vector<std::int32_t> points;
  for (const Segment& s : make_segments(tokens, 16, 0, segment)) points.push_back(s.points);
  return points;
}

}  // namespace

TEST_CASE("up to 64K tokens are clustered at once, more in even segments of at most 16K") {
  CHECK(points_of(100, 0) == std::vector<std::int32_t>{100});
  CHECK(points_of(65536, 0) == std::vector<std::int32_t>{65536});
  CHECK(points_of(65537, 0) == std::vector<std::int32_t>{13108, 13108, 13108, 13108, 13105});
  CHECK(points_of(1 << 20, 0) == std::vector<std::int32_t>(64, 16384));
  CHECK(points_of(0, 0).empty());
  CHECK(total_clusters(make_segments(1 << 20, 16, 0, 0)) == 65536);
  CHECK(total_clusters(make_segments(1 << 20, 16, 640, 0)) == 640);
}

TEST_CASE("a segment that was asked for wins, at every length") {
  CHECK(points_of(1 << 20, 1 << 20) == std::vector<std::int32_t>{1 << 20});
  CHECK(points_of(1 << 20, 1 << 19) == std::vector<std::int32_t>(2, 1 << 19));
  CHECK(points_of(100, 40) == std::vector<std::int32_t>{40, 40, 20});
}

TEST_CASE("a long index without a word on segments is that of the segments which the rule says") {
  const std::int64_t n = 66000;
  const RandomCache cache({1, 1, n, 2});
  ClusteringOptions options;
  options.tokens_per_cluster = 2000, options.kmeans.iterations = 2;
  const auto index = ClusterIndex::build(cache.head(), 0, n, options);
  options.segment = 13200;
  const auto same = ClusterIndex::build(cache.head(), 0, n, options);
  options.segment = n;
  const auto at_once = ClusterIndex::build(cache.head(), 0, n, options);
  CHECK(index.centroids() == same.centroids());
  CHECK(index.num_clusters() == 30);
  CHECK(at_once.num_clusters() == 33);
}
