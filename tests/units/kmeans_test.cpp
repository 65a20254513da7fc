// Is k-means Lloyd's algorithm, also where clusters run empty, and the same for any thread count?
#include "core/index/kmeans.h"

#include <set>

#include "core/base/random.h"
#include "tests/catch.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;
using Indices = std::vector<std::int32_t>;

namespace {

MatrixF column(const std::vector<float>& values) {
  return ConstMapF(values.data(), static_cast<Eigen::Index>(values.size()), 1);
}

KmeansOptions options(std::int64_t clusters, int iterations) {
  KmeansOptions o;
  o.clusters = clusters, o.iterations = iterations;
  return o;
}

MatrixF random_points(std::int64_t n, std::int64_t d, std::uint64_t seed) {
  const CounterRng rng(seed);
  MatrixF points(n, d);
  for (std::int64_t i = 0; i < n * d; ++i)
    points.data()[i] = static_cast<float>(rng.normal(i) + 3.0 * static_cast<double>(i / d % 4));
  return points;
}

double objective(const MatrixF& points, const KmeansResult& r) {
  double sum = 0;
  for (Eigen::Index j = 0; j < points.rows(); ++j)
    sum += (points.row(j).cast<double>() - r.centroids.row(r.assignment[j]).cast<double>())
               .squaredNorm();
  return sum;
}

}  // namespace

TEST_CASE("k-means by hand: two clusters on a line") {
  // Evenly spaced start at rows 0 and 2: centroids 0 and 10.
  // 0 1 | 10 11 13 -> means 0.5 and 34/3; nothing moves after.
  const auto r = kmeans(column({0, 1, 10, 11, 13}), options(2, 1));
  CHECK(r.assignment == Indices{0, 0, 1, 1, 1});
  CHECK(r.centroids(0, 0) == 0.5f);
  CHECK(r.centroids(1, 0) == Approx(34.0 / 3));
  // From rows 0 and 2 of 0 1 2 10: {0 1} (1 is a tie, lower index) {2 10}; means 0.5 and 6;
  // then {0 1 2} {10}: means 1 and 10.
  const auto second = kmeans(column({0, 1, 2, 10}), options(2, 2));
  CHECK(second.assignment == Indices{0, 0, 0, 1});
  CHECK(second.centroids(0, 0) == 1.0f);
  CHECK(second.centroids(1, 0) == 10.0f);
}

TEST_CASE("an empty cluster moves to the point farthest from its centroid") {
  // Rows 0, 2, 4 of 0 0 0 0 8 9: centroids 0, 0, 8; the second is empty (ties to the lower index).
  // After the update: 0, (0), 8.5. Distances to the old centroids: 9 is at 1, all others at 0.
  // So the second moves to 9: {0 0 0 0} {9} {8}.
  const auto r = kmeans(column({0, 0, 0, 0, 8, 9}), options(3, 2));
  CHECK(r.assignment == Indices{0, 0, 0, 0, 2, 1});
  CHECK(r.centroids(1, 0) == 9.0f);
  CHECK(r.centroids(2, 0) == 8.0f);
}

TEST_CASE("all-equal points leave one cluster with all, and finite centroids") {
  const auto r = kmeans(MatrixF::Constant(20, 3, 2.5f), options(4, 5));
  CHECK(r.assignment == Indices(20, 0));
  CHECK(r.centroids == MatrixF::Constant(4, 3, 2.5f));
}

TEST_CASE("more clusters than points: one each") {
  const MatrixF points = column({5, 1, 3});
  const auto r = kmeans(points, options(10, 3));
  CHECK(r.centroids.rows() == 3);
  CHECK(r.assignment == Indices{0, 1, 2});
  CHECK(r.centroids == points);
  const auto one = kmeans(column({7}), options(1, 1));
  CHECK(one.centroids(0, 0) == 7.0f);
}

TEST_CASE("k-means has the same bits for 1, 2 and 4 threads") {
  const ThreadGuard guard;
  const MatrixF points = random_points(1500, 20, 3);
  set_num_threads(1);
  const auto expected = kmeans(points, options(60, 5));
  for (int threads : {2, 4}) {
    set_num_threads(threads);
    const auto r = kmeans(points, options(60, 5));
    CHECK(r.assignment == expected.assignment);
    CHECK(r.centroids == expected.centroids);
  }
}

TEST_CASE("more iterations never worsen the objective") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const MatrixF points = random_points(400, 8, seed);
    for (auto init : {KmeansOptions::Init::kEvenlySpaced, KmeansOptions::Init::kRandom}) {
      double previous = 1e300;
      for (int iterations = 1; iterations <= 12; ++iterations) {
        auto o = options(40, iterations);
        o.init = init, o.seed = seed;
        const double now = objective(points, kmeans(points, o));
        CHECK(now <= previous * (1 + 1e-6));
        previous = now;
      }
    }
  }
}

TEST_CASE("centroids are the means of the members that are reported") {
  const MatrixF points = random_points(500, 6, 4);
  const auto r = kmeans(points, options(30, 3));
  for (std::int32_t c = 0; c < 30; ++c) {
    Eigen::RowVectorXd mean = Eigen::RowVectorXd::Zero(6);
    int n = 0;
    for (int j = 0; j < 500; ++j)
      if (r.assignment[j] == c) mean += points.row(j).cast<double>(), ++n;
    if (n > 0) CHECK((mean / n - r.centroids.row(c).cast<double>()).norm() < 1e-5);
  }
}

TEST_CASE("the seed moves the start: the comb's phase, and the random choice") {
  const MatrixF points = random_points(300, 4, 8);
  for (auto init : {KmeansOptions::Init::kEvenlySpaced, KmeansOptions::Init::kRandom}) {
    auto o = options(20, 1);
    o.init = init;
    std::set<Indices> seen;
    for (o.seed = 0; o.seed < 5; ++o.seed) {
      const auto r = kmeans(points, o);
      CHECK(r.assignment == kmeans(points, o).assignment);
      seen.insert(r.assignment);
    }
    CHECK(seen.size() == 5);
  }
  // k = n at random: every point is chosen once, in whatever order.
  auto all = options(300, 1);
  all.init = KmeansOptions::Init::kRandom;
  const auto r = kmeans(points, all).assignment;
  CHECK(std::set<std::int32_t>(r.begin(), r.end()).size() == 300);
}

TEST_CASE("normalised centroids have unit length") {
  auto o = options(10, 3);
  o.normalise = true;
  const auto r = kmeans(random_points(200, 8, 2), o);
  for (int c = 0; c < 10; ++c) CHECK(r.centroids.row(c).norm() == Approx(1).epsilon(1e-5));
}
