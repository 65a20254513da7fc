// Lloyd's k-means, Euclidean, float32, deterministic: the same result for any number of threads and
// any SIMD width, since comparisons that float32 cannot settle are settled in float64.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/matrix.h"
#include "core/cost/stages.h"

namespace doublep {

struct KmeansOptions {
  std::int64_t clusters = 1;
  int iterations = 4;  ///< at least 1; each assigns every point, then moves the centroids
  /// kPlusPlus: one by one, each drawn with a probability in proportion to its squared distance
  /// from the nearest drawn before (k-means++, Arthur and Vassilvitskii, 2007).
  enum class Init { kEvenlySpaced, kRandom, kPlusPlus } init = Init::kEvenlySpaced;
  std::uint64_t seed = 0;  ///< phase of the even spacing, or the random choice
  /// Spherical k-means: centroids have unit length throughout, so that the nearest is the one of
  /// highest cosine.
  bool normalise = false;
};

struct KmeansResult {
  /// [clusters, d], the means of the members below (Jensen's bound needs exactly that), or their
  /// directions
  MatrixF centroids;
  /// [n], nearest of the centroids before the last move, ties to the lower index
  std::vector<std::int32_t> assignment;
  Work work;  ///< what it took: points and centroids are read once per pass
};

/// Of `n` points the `clusters` that the first centroids sit on; not for kPlusPlus, which looks at
/// the points themselves.
std::vector<std::int64_t> first_points(std::int64_t n, std::int64_t clusters,
                                       const KmeansOptions& options);

/// Clusters the rows of points [n, d]; clusters is clipped to n. An empty cluster moves to the
/// point farthest from its centroid (each point helps one cluster at most); where every point sits
/// on its centroid it stays empty.
KmeansResult kmeans(const Eigen::Ref<const MatrixF>& points, const KmeansOptions& options);

/// Nearest centroid of every point by squared distance. Used by kmeans and by its tests.
/// `distances`, where given, receives the squared distance of each point to its centroid.
std::vector<std::int32_t> assign_nearest(const Eigen::Ref<const MatrixF>& points,
                                         const MatrixF& centroids,
                                         std::vector<float>* distances = nullptr);

}  // namespace doublep
