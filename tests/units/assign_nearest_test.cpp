// Is every point given to its nearest centroid as float64 sees it, near-ties included?
#include <cstdlib>
#include <string>

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/index/kmeans.h"
#include "core/index/nearest_kernel.h"
#include "tests/catch.h"

using namespace doublep;

namespace {

MatrixF normal_matrix(std::int64_t rows, std::int64_t d, std::uint64_t seed, double scale = 1) {
  const CounterRng rng(seed);
  MatrixF m(rows, d);
  for (std::int64_t i = 0; i < rows * d; ++i)
    m.data()[i] = static_cast<float>(scale * rng.normal(i));
  return m;
}

double distance(const MatrixF& points, std::int64_t j, const MatrixF& centroids, std::int64_t c) {
  double sum = 0;
  for (Eigen::Index i = 0; i < points.cols(); ++i) {
    const double x = static_cast<double>(points(j, i)) - centroids(c, i);
    sum += x * x;
  }
  return sum;
}

// For as long as it lives, what is computed goes by the loops of one instruction set.
class Level {
 public:
  explicit Level(const char* name) { ::setenv("DOUBLEP_SIMD", name, 1); }
  ~Level() { ::unsetenv("DOUBLEP_SIMD"); }
};

// How many points are not with the first of their nearest centroids.
int disagreements(const MatrixF& points, const MatrixF& centroids) {
  std::vector<float> distances;
  const auto found = assign_nearest(points, centroids, &distances);
  int wrong = 0;
  for (Eigen::Index j = 0; j < points.rows(); ++j) {
    std::int32_t best = 0;
    for (std::int32_t c = 1; c < centroids.rows(); ++c)
      if (distance(points, j, centroids, c) < distance(points, j, centroids, best)) best = c;
    wrong += found[j] != best;
    wrong += distances[j] != static_cast<float>(distance(points, j, centroids, best));
  }
  return wrong;
}

}  // namespace

TEST_CASE("every instruction set that this machine has assigns the same, k-means to the last bit") {
  const MatrixF points = normal_matrix(500, 100, 3);
  KmeansOptions options;
  options.clusters = 45;
  const KmeansResult usual = kmeans(points, options);
  REQUIRE(nearest_kernels().front().level == std::string("base"));
  for (const NearestKernel& kernel : nearest_kernels()) {
    CAPTURE(kernel.level);
    const Level level(kernel.level);
    CHECK(nearest_kernel().level == std::string(kernel.level));
    for (std::int64_t d : {1, 7, 128})  // whole panels of centroids and parts, tiles of points too
      for (std::int64_t k : {1, 15, 16, 32, 33, 100})
        CHECK(disagreements(normal_matrix(100 + k, d, d), normal_matrix(k, d, k + 1)) == 0);
    const KmeansResult forced = kmeans(points, options);
    CHECK(forced.assignment == usual.assignment);
    CHECK(forced.centroids == usual.centroids);
  }
  const Level level("sse9");
  CHECK_THROWS_AS(nearest_kernel(), InputError);
}

TEST_CASE("random points and centroids, several dimensions") {
  for (std::int64_t d : {1, 3, 16, 80, 128, 256})
    CHECK(disagreements(normal_matrix(300, d, d), normal_matrix(37, d, d + 1)) == 0);
}

TEST_CASE("a common offset, which float32 dot products do not survive") {
  // |c|^2/2 - p.c cancels to a few units in the last place; only float64 can tell.
  for (float offset : {10.0f, 1e3f, 1e5f}) {
    MatrixF points = normal_matrix(200, 64, 5).array() + offset;
    MatrixF centroids = normal_matrix(30, 64, 6).array() + offset;
    CHECK(disagreements(points, centroids) == 0);
  }
}

TEST_CASE("centroids a rounding apart, and duplicates: the lower index") {
  MatrixF centroids = normal_matrix(20, 32, 7);
  for (int c = 10; c < 20; ++c) {
    centroids.row(c) = centroids.row(c - 10);
    if (c % 2) centroids(c, 0) = std::nextafter(centroids(c, 0), 100.0f);
  }
  CHECK(disagreements(normal_matrix(300, 32, 8), centroids) == 0);
  CHECK(disagreements(centroids, centroids) == 0);
}

TEST_CASE("tiny, large and zero vectors") {
  CHECK(disagreements(normal_matrix(50, 16, 1, 1e-15), normal_matrix(9, 16, 2, 1e-15)) == 0);
  CHECK(disagreements(normal_matrix(50, 16, 1, 1e12), normal_matrix(9, 16, 2, 1e12)) == 0);
  CHECK(disagreements(MatrixF::Zero(5, 16), MatrixF::Zero(3, 16)) == 0);
}

TEST_CASE("finite vectors whose squares overflow float32 are assigned, not an aborted program") {
  CHECK(disagreements(normal_matrix(50, 16, 1, 1e25), normal_matrix(9, 16, 2, 1e25)) == 0);
}
