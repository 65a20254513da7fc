#include "core/index/cluster_index.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/cost/stages.h"
#include "core/index/segments.h"

namespace doublep {

ParamSpecs clustering_params(std::int64_t tokens_per_cluster, int iterations,
                             std::int64_t segment) {
  return {
      integer("tokens_per_cluster", tokens_per_cluster, "average tokens a cluster", 1),
      integer("clusters", 0, "clusters per KV head instead; 0 = by tokens_per_cluster"),
      integer("iterations", iterations, "k-means iterations", 1, 1000),
      integer("segment", segment,
              concat("cluster runs of so many tokens separately; 0 = all at once, beyond ",
                     kMostAtOnce, " tokens in even runs of at most ", kLongSegment)),
      choice("kmeans_init", "evenly_spaced", {"evenly_spaced", "random"}, "first centroids"),
      integer("kmeans_seed", 0, "phase of the even spacing, or the random choice"),
  };
}

ClusteringOptions clustering_options(const Parameters& p) {
  ClusteringOptions options;
  options.tokens_per_cluster = p.integer("tokens_per_cluster");
  options.clusters = p.integer("clusters");
  options.segment = p.integer("segment");
  options.kmeans.iterations = static_cast<int>(p.integer("iterations"));
  options.kmeans.init = p.choice("kmeans_init") == "random" ? KmeansOptions::Init::kRandom
                                                            : KmeansOptions::Init::kEvenlySpaced;
  options.kmeans.seed = static_cast<std::uint64_t>(p.integer("kmeans_seed"));
  options.moments.per_dimension = p.has("estimator") && p.choice("estimator") == "diagonal";
  options.moments.value_map = p.has("value_side") && p.choice("value_side") == "shifted";
  options.moments.key_shape = p.has("estimator") && p.choice("estimator") == "pooled";
  return options;
}

namespace {

MatrixF centred(const ConstMapF& keys) {
  Eigen::RowVectorXd mean = Eigen::RowVectorXd::Zero(keys.cols());
  for (std::int64_t j = 0; j < keys.rows(); ++j) mean += keys.row(j).cast<double>();
  return keys.rowwise() - (mean / static_cast<double>(keys.rows())).cast<float>();
}

// The keys as k-means sees them: less their mean, and in another metric, where that is asked for.
// Products in float64: which cluster a key falls into must not hang on the order of float32 sums.
MatrixF moved_keys(const KvHead& head, std::int64_t begin, std::int64_t end,
                   const ClusteringOptions& options) {
  const ConstMapF keys(head.key(begin), end - begin, head.head_dim);
  MatrixF moved = options.centre ? centred(keys) : MatrixF(keys);
  constexpr std::int64_t kRows = 1024;  // at a time, so that no float64 copy of all keys is held
  for (std::int64_t first = 0; options.warp && first < moved.rows(); first += kRows) {
    auto rows = moved.middleRows(first, std::min(kRows, moved.rows() - first));
    rows = (rows.cast<double>() * *options.warp).cast<float>();
  }
  return moved;
}

// A cluster without members keeps its centroid.
void move_to_means(const KvHead& head, std::int64_t begin, std::span<const std::int32_t> assignment,
                   MatrixF& centroids) {
  MatrixD sums = MatrixD::Zero(centroids.rows(), centroids.cols());
  VectorD counts = VectorD::Zero(centroids.rows());
  for (std::size_t j = 0; j < assignment.size(); ++j) {
    const auto token = begin + static_cast<std::int64_t>(j);
    sums.row(assignment[j]) += ConstRowF(head.key(token), head.head_dim).cast<double>();
    counts[assignment[j]] += 1;
  }
  for (std::int64_t i = 0; i < centroids.rows(); ++i)
    if (counts[i] > 0) centroids.row(i) = (sums.row(i) / counts[i]).cast<float>();
}

}  // namespace

ClusterIndex ClusterIndex::build(const KvHead& head, std::int64_t begin, std::int64_t end,
                                 const ClusteringOptions& options) {
  const std::int64_t n = end - begin;
  const bool moved = (options.centre || options.warp) && n > 0;
  const MatrixF points = moved ? moved_keys(head, begin, end, options) : MatrixF();
  const auto rows_from = [&](std::int64_t first, std::int64_t rows) {
    return ConstMapF(moved ? points.data() + (first - begin) * head.head_dim : head.key(first),
                     rows, head.head_dim);
  };
  Work work;
  if (options.warp)  // every key times W
    work += cost::change_metric(static_cast<double>(n), head.head_dim);
  const auto segments =
      make_segments(n, options.tokens_per_cluster, options.clusters, options.segment);
  MatrixF centroids(total_clusters(segments), head.head_dim);
  std::vector<std::int32_t> assignment;
  assignment.reserve(n);
  for (const Segment& segment : segments) {
    KmeansOptions kmeans_options = options.kmeans;
    kmeans_options.clusters = segment.clusters;
    const KmeansResult part =
        kmeans(rows_from(begin + segment.point, segment.points), kmeans_options);
    centroids.middleRows(segment.cluster, segment.clusters) = part.centroids;
    for (std::int32_t a : part.assignment) assignment.push_back(segment.cluster + a);
    work += part.work;
  }
  if (options.global_pass && n > 0) {
    assignment = assign_nearest(rows_from(begin, n), centroids);
    work += cost::assignment(static_cast<double>(n), static_cast<double>(centroids.rows()),
                             head.head_dim);
  }
  // Clustered elsewhere than where the keys are: the centroid is the mean of the members all the
  // same.
  if (moved || options.kmeans.normalise || options.global_pass)
    move_to_means(head, begin, assignment, centroids);
  ClusterIndex index = from_assignment(head, begin, end, std::move(centroids), assignment);
  index.build_work_ = work;
  index.add_moments(head, options.moments);
  return index;
}

ClusterIndex ClusterIndex::from_assignment(const KvHead& head, std::int64_t begin, std::int64_t end,
                                           MatrixF centroids,
                                           std::span<const std::int32_t> assignment) {
  const std::int64_t n = end - begin, k = centroids.rows(), d = head.head_dim, dv = head.value_dim;
  DP_EXPECTS(static_cast<std::int64_t>(assignment.size()) == n, "one cluster per token");
  ClusterIndex index;
  index.begin_ = begin, index.end_ = end;
  index.offsets_.assign(k + 1, 0);
  for (std::int32_t a : assignment) ++index.offsets_[a + 1];
  for (std::int64_t i = 0; i < k; ++i) index.offsets_[i + 1] += index.offsets_[i];
  index.members_.resize(n);
  auto next = index.offsets_;
  for (std::int64_t j = 0; j < n; ++j)
    index.members_[next[assignment[j]]++] = static_cast<std::int32_t>(begin + j);

  index.mean_values_ = MatrixF::Zero(k, dv);
  index.variances_ = VectorF::Zero(k), index.value_spreads_ = VectorF::Zero(k);
  for (std::int64_t i = 0; i < k; ++i) {
    if (index.size(i) == 0) continue;
    Eigen::RowVectorXd value_sum = Eigen::RowVectorXd::Zero(dv);
    double squares = 0;
    for (std::int32_t j : index.members(i)) {
      value_sum += ConstRowF(head.value(j), dv).cast<double>();
      squares += (ConstRowF(head.key(j), d).cast<double>() - centroids.row(i).cast<double>())
                     .squaredNorm();
    }
    const double size = static_cast<double>(index.size(i));
    const Eigen::RowVectorXd value_mean = value_sum / size;
    double value_squares = 0;
    for (std::int32_t j : index.members(i))
      value_squares += (ConstRowF(head.value(j), dv).cast<double>() - value_mean).squaredNorm();
    index.mean_values_.row(i) = value_mean.cast<float>();
    index.value_spreads_[i] = static_cast<float>(value_squares / size);
    index.variances_[i] = static_cast<float>(squares / (size * d));
  }
  index.centroids_ = std::move(centroids);
  return index;
}

ClusterIndex ClusterIndex::joined(const KvHead& head, const ClusterIndex& earlier,
                                  const ClusterIndex& later) {
  DP_EXPECTS(earlier.end_ == later.begin_, "joined indexes are adjacent");
  const std::int64_t k = earlier.num_clusters(), all = k + later.num_clusters();
  MatrixF centroids(all, head.head_dim);
  centroids.topRows(k) = earlier.centroids_;
  centroids.bottomRows(all - k) = later.centroids_;
  std::vector<std::int32_t> assignment(later.end_ - earlier.begin_);
  for (std::int64_t i = 0; i < all; ++i)
    for (std::int32_t j : i < k ? earlier.members(i) : later.members(i - k))
      assignment[j - earlier.begin_] = static_cast<std::int32_t>(i);
  ClusterIndex index =
      from_assignment(head, earlier.begin_, later.end_, std::move(centroids), assignment);
  index.build_work_ = later.build_work_;
  return index;
}

ClusterIndex ClusterIndex::until(const KvHead& head, std::int64_t cut) const {
  DP_EXPECTS(begin_ <= cut && cut <= end_, "cut within the index");
  std::vector<std::int32_t> assignment(cut - begin_);
  for (std::int64_t i = 0; i < num_clusters(); ++i)
    for (std::int32_t j : members(i))
      if (j < cut) assignment[j - begin_] = static_cast<std::int32_t>(i);
  MatrixF means = centroids_;
  move_to_means(head, begin_, assignment, means);
  for (std::int64_t i = 0; i < num_clusters(); ++i)  // whole clusters keep theirs to the last bit
    if (size(i) == 0 || members(i).back() < cut) means.row(i) = centroids_.row(i);
  ClusterIndex left = from_assignment(head, begin_, cut, std::move(means), assignment);
  left.add_moments(head, {.per_dimension = dimension_variances_.rows() > 0});
  left.value_map_ = value_map_, left.key_shape_ = key_shape_;
  return left;
}

double ClusterIndex::memory_bytes(KvDtype dtype) const {
  const double moments =
      static_cast<double>(dimension_variances_.size() + value_map_.size() + key_shape_.size());
  return cost::cluster_memory(
             static_cast<double>(num_clusters()), static_cast<double>(members_.size()),
             static_cast<int>(centroids_.cols()), static_cast<int>(mean_values_.cols()), dtype) +
         moments * bytes_of(plain_dtype(dtype)) + 4.0 * static_cast<double>(radii_.size());
}

}  // namespace doublep
