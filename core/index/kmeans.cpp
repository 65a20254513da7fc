#include "core/index/kmeans.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/base/random.h"
#include "core/cost/stages.h"
#include "core/index/nearest_kernel.h"

namespace doublep {
namespace {

// Points at a time: their scores against a thousand centroids stay in the L2 cache.
constexpr std::int64_t kPointBlock = 96;

double exact_distance(const float* a, const float* b, std::int64_t d) {
  double sum = 0;
  for (std::int64_t i = 0; i < d; ++i) {
    const double difference = static_cast<double>(a[i]) - b[i];
    sum += difference * difference;
  }
  return sum;
}

// Distances and their sums in float64, in the order of the points.
MatrixF spread_out(const Eigen::Ref<const MatrixF>& points, std::uint64_t seed, std::int64_t k) {
  const std::int64_t n = points.rows(), d = points.cols();
  const CounterRng rng(seed, 0x6B2B2B);
  MatrixF centroids(k, d);
  std::vector<double> distances(n, std::numeric_limits<double>::infinity());
  auto row = static_cast<std::int64_t>(rng.below(0, n));
  for (std::int64_t i = 0; i < k; ++i) {
    centroids.row(i) = points.row(row);
    double total = 0;
    for (std::int64_t j = 0; j < n; ++j) {
      const float* point = points.data() + j * points.outerStride();
      distances[j] = std::min(distances[j], exact_distance(point, centroids.data() + i * d, d));
      total += distances[j];
    }
    // Where every point sits on a centroid the row stays: the clusters to come are empty.
    double left = rng.uniform(i + 1) * total;
    for (std::int64_t j = 0; j < n && left >= 0 && total > 0; ++j)
      if (distances[j] > 0) left -= distances[j], row = j;
  }
  return centroids;
}

MatrixF first_centroids(const Eigen::Ref<const MatrixF>& points, const KmeansOptions& options,
                        std::int64_t k) {
  if (options.init == KmeansOptions::Init::kPlusPlus) return spread_out(points, options.seed, k);
  const auto rows = first_points(points.rows(), k, options);
  MatrixF centroids(k, points.cols());
  for (std::int64_t i = 0; i < k; ++i) centroids.row(i) = points.row(rows[i]);
  return centroids;
}

// Means in float64, summed in the order of the points, so that threads cannot change them. Returns
// the clusters that have no member; they keep their old centroid.
std::vector<std::int32_t> update_centroids(const Eigen::Ref<const MatrixF>& points,
                                           const std::vector<std::int32_t>& assignment,
                                           bool normalise, MatrixF& centroids) {
  const std::int64_t k = centroids.rows(), d = centroids.cols();
  MatrixD sums = MatrixD::Zero(k, d);
  std::vector<std::int64_t> counts(k, 0);
  for (std::int64_t j = 0; j < points.rows(); ++j) {
    sums.row(assignment[j]) += points.row(j).cast<double>();
    ++counts[assignment[j]];
  }
  std::vector<std::int32_t> empty;
  for (std::int64_t i = 0; i < k; ++i) {
    if (counts[i] == 0) {
      empty.push_back(static_cast<std::int32_t>(i));
      continue;
    }
    const double norm = normalise ? sums.row(i).norm() : static_cast<double>(counts[i]);
    if (norm > 0) centroids.row(i) = (sums.row(i) / norm).cast<float>();
  }
  return empty;
}

void refill(const Eigen::Ref<const MatrixF>& points, const std::vector<float>& distances,
            const std::vector<std::int32_t>& empty, MatrixF& centroids) {
  if (empty.empty()) return;
  std::vector<std::int32_t> far(points.rows());
  std::iota(far.begin(), far.end(), 0);
  const auto count = std::min(empty.size(), far.size());
  std::partial_sort(far.begin(), far.begin() + count, far.end(), [&](auto a, auto b) {
    return distances[a] != distances[b] ? distances[a] > distances[b] : a < b;
  });
  for (std::size_t i = 0; i < count && distances[far[i]] > 0; ++i)
    centroids.row(empty[i]) = points.row(far[i]);
}

void scale_to_unit_length(MatrixF& centroids) {
  for (std::int64_t i = 0; i < centroids.rows(); ++i) {
    const double norm = centroids.row(i).cast<double>().norm();
    if (norm > 0) centroids.row(i) = (centroids.row(i).cast<double>() / norm).cast<float>();
  }
}

}  // namespace

std::vector<std::int64_t> first_points(std::int64_t n, std::int64_t k,
                                       const KmeansOptions& options) {
  DP_EXPECTS(options.init != KmeansOptions::Init::kPlusPlus,
             "chosen without looking at the points");
  std::vector<std::int64_t> rows(n);
  if (options.init == KmeansOptions::Init::kEvenlySpaced) {
    // The seed moves the comb by a low-discrepancy phase; seed 0 starts at the first point.
    const double phase = std::fmod(static_cast<double>(options.seed) * 0.6180339887498949, 1.0);
    for (std::int64_t i = 0; i < k; ++i)
      rows[i] =
          std::min(static_cast<std::int64_t>((i + phase) * static_cast<double>(n) / k), n - 1);
  } else {  // the first k of a seeded permutation (Fisher-Yates)
    const CounterRng rng(options.seed, 0x6B6D);
    std::iota(rows.begin(), rows.end(), 0);
    for (std::int64_t i = 0; i < k; ++i)
      std::swap(rows[i], rows[i + static_cast<std::int64_t>(rng.below(i, n - i))]);
  }
  rows.resize(k);
  return rows;
}

std::vector<std::int32_t> assign_nearest(const Eigen::Ref<const MatrixF>& points,
                                         const MatrixF& centroids, std::vector<float>* distances) {
  const std::int64_t n = points.rows(), k = centroids.rows(), d = points.cols();
  const NearestKernel& kernel = nearest_kernel();
  const std::int64_t panels = (k + kernel.panel - 1) / kernel.panel, width = panels * kernel.panel;
  VectorF half_norms = VectorF::Constant(width, std::numeric_limits<float>::infinity());
  half_norms.head(k) = 0.5f * centroids.rowwise().squaredNorm();
  const double max_norm = std::sqrt(2.0 * half_norms.head(k).maxCoeff());
  std::vector<float> packed(static_cast<std::size_t>(width * d));
  kernel.pack(centroids.data(), k, d, packed.data());
  std::vector<std::int32_t> assignment(n);
  if (distances) distances->assign(n, 0.0f);
  parallel_for((n + kPointBlock - 1) / kPointBlock, [&](std::int64_t block) {
    const std::int64_t begin = block * kPointBlock, rows = std::min(kPointBlock, n - begin);
    // |p - c|^2 / 2 up to a constant per point: |c|^2 / 2 - p.c
    std::vector<float> scores(static_cast<std::size_t>(rows * width));
    const float* first = points.data() + begin * points.outerStride();
    kernel.scores(first, points.outerStride(), rows, d, packed.data(), half_norms.data(), panels,
                  scores.data());
    for (std::int64_t r = 0; r < rows; ++r) {
      const float* row = scores.data() + r * width;
      const float* point = first + r * points.outerStride();
      // Float32 dot products of length d err by about sqrt(d) roundings; what lies closer to the
      // minimum than a generous multiple of that is decided in float64, ties to the lower index.
      const double norm = points.row(begin + r).norm();
      const auto slack = static_cast<float>(8.0 * std::sqrt(static_cast<double>(d)) * 0x1.0p-24 *
                                            max_norm * (norm + max_norm));
      float best = 0;
      std::int64_t candidates = 0, nearest = -1;
      kernel.scan(row, width, slack, &best, &candidates, &nearest);
      // Squares of large finite numbers overflow: then nothing is ruled out in float32.
      const bool overflow = !(max_norm * (norm + max_norm) < 1e38);
      double nearest_distance = 0;
      if (candidates != 1 || overflow) {
        nearest = -1;
        for (std::int64_t i = 0; i < k; ++i) {
          if (!overflow && !(row[i] <= best + slack)) continue;
          const double distance = exact_distance(point, centroids.data() + i * d, d);
          if (nearest < 0 || distance < nearest_distance) nearest = i, nearest_distance = distance;
        }
      }
      // What is not finite counts as overflow, and has no distance.
      DP_EXPECTS(nearest >= 0 && std::isfinite(nearest_distance),
                 "points and centroids are finite");
      assignment[begin + r] = static_cast<std::int32_t>(nearest);
      if (distances)
        (*distances)[begin + r] =
            static_cast<float>(exact_distance(point, centroids.data() + nearest * d, d));
    }
  });
  return assignment;
}

KmeansResult kmeans(const Eigen::Ref<const MatrixF>& points, const KmeansOptions& options) {
  const std::int64_t n = points.rows(), d = points.cols();
  const std::int64_t k = std::min(options.clusters, n);
  DP_EXPECTS(k > 0 && options.iterations > 0, "k-means needs a point, a cluster and an iteration");
  KmeansResult result;
  result.centroids = first_centroids(points, options, k);
  if (options.init == KmeansOptions::Init::kPlusPlus)  // a pass over the points for each of them
    result.work = Work{4.0 * n * k * d, 3.0 * n * k * d};
  if (options.normalise) scale_to_unit_length(result.centroids);
  for (int iteration = 0; iteration < options.iterations; ++iteration) {
    const bool last = iteration + 1 == options.iterations;
    std::vector<float> distances;
    result.assignment = assign_nearest(points, result.centroids, last ? nullptr : &distances);
    const auto empty =
        update_centroids(points, result.assignment, options.normalise, result.centroids);
    // A cluster moved by the last update would have no member to show for it.
    if (!last) refill(points, distances, empty, result.centroids);
    if (!last && options.normalise) scale_to_unit_length(result.centroids);
    result.work +=
        cost::kmeans_pass(static_cast<double>(n), static_cast<double>(k), static_cast<int>(d));
  }
  return result;
}

}  // namespace doublep
