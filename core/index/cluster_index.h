// Keys of one KV head, clustered: what every cluster policy reads instead of the keys.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/matrix.h"
#include "core/base/parameters.h"
#include "core/cache/kv_cache.h"
#include "core/cost/stages.h"
#include "core/index/kmeans.h"

namespace doublep {

/// What an index holds beside centroids, mean values and isotropic variances: only what its policy
/// reads, since each costs memory and a pass over the keys.
struct IndexMoments {
  bool per_dimension = false;  ///< variance per dimension, and radius, of every cluster
  bool value_map = false;      ///< one linear map per KV head from keys to values within clusters
  bool key_shape = false;      ///< covariance of keys within clusters, pooled over the KV head
};

struct ClusteringOptions {
  std::int64_t tokens_per_cluster = 16;
  std::int64_t clusters = 0;  ///< a fixed number instead; 0 = by tokens_per_cluster
  std::int64_t segment = 0;   ///< cluster runs of so many tokens on their own; 0: segment_length()
  KmeansOptions kmeans;
  bool centre = false;       ///< cluster the keys less their mean over the whole range
  bool global_pass = false;  ///< a last assignment to the nearest centroid of all segments
  /// W [d, d]: k-means sees the rows k W (core/index/query_metric.h), centroids stay plain means of
  /// the keys; null = the keys themselves.
  std::shared_ptr<const MatrixD> warp;
  IndexMoments moments;
};

/// The parameters of the same names, and the options read from them; `moments` follows from
/// `estimator` and `value_side` where the policy has them.
ParamSpecs clustering_params(std::int64_t tokens_per_cluster = 16, int iterations = 4,
                             std::int64_t segment = 0);
ClusteringOptions clustering_options(const Parameters& parameters);

class ClusterIndex {
 public:
  /// Clusters the tokens [begin, end) of the head; begin == end gives an index without clusters.
  static ClusterIndex build(const KvHead& head, std::int64_t begin, std::int64_t end,
                            const ClusteringOptions& options);
  /// From a given assignment of the tokens [begin, end) to `centroids` (for other clusterings).
  static ClusterIndex from_assignment(const KvHead& head, std::int64_t begin, std::int64_t end,
                                      MatrixF centroids, std::span<const std::int32_t> assignment);
  /// Two indexes of adjacent ranges as one: the clusters of `later` come after those of `earlier`.
  /// Moments beyond the variances are left out. The build work is that of `later`.
  static ClusterIndex joined(const KvHead& head, const ClusterIndex& earlier,
                             const ClusterIndex& later);
  /// What the index holds of the tokens before `cut` (begin() <= cut <= end()), as if the later
  /// ones had never been there: the same clusters, centroids and moments of the members that are
  /// left; pooled moments stay as they are. `head`: the cache that the index was built on.
  ClusterIndex until(const KvHead& head, std::int64_t cut) const;
  /// Computes what else is wanted, from the cache that the index was built on.
  void add_moments(const KvHead& head, const IndexMoments& wanted);

  std::int64_t begin() const { return begin_; }
  std::int64_t end() const { return end_; }
  std::int64_t num_clusters() const { return centroids_.rows(); }
  /// Tokens of a cluster, ascending.
  std::span<const std::int32_t> members(std::int64_t cluster) const {
    return {members_.data() + offsets_[cluster],
            static_cast<std::size_t>(offsets_[cluster + 1] - offsets_[cluster])};
  }
  std::int64_t size(std::int64_t cluster) const {
    return offsets_[cluster + 1] - offsets_[cluster];
  }
  const MatrixF& centroids() const { return centroids_; }  ///< [k, d]
  const MatrixF& mean_values() const {
    return mean_values_;
  }  ///< [k, value_dim], VS_i / s_i; 0 if empty
  /// Mean squared distance of the members to their centroid, per dimension: u_i. [k]
  const VectorF& variances() const { return variances_; }
  /// Mean squared distance of the members' values to their mean: Sv_i. [k]
  const VectorF& value_spreads() const { return value_spreads_; }

  /// Per-dimension variance of the members' keys [k, d]; no rows unless asked for.
  const MatrixF& dimension_variances() const { return dimension_variances_; }
  /// Largest distance of a member to its centroid [k], rounded up; empty unless asked for.
  const VectorF& radii() const { return radii_; }
  /// [d values, d keys]: sum over clusters of Cov(v, k), over the sum of u_i; empty unless asked
  /// for. u_i times this stands for the cross-covariance of cluster i.
  const MatrixF& value_map() const { return value_map_; }
  /// [d, d], trace d: the covariance of keys around their centroids, pooled over all clusters, over
  /// its mean variance; empty unless asked for. u_i times this stands for the covariance of cluster
  /// i.
  const MatrixF& key_shape() const { return key_shape_; }

  /// Bytes of all that the index holds, vectors and matrices in the given data type.
  double memory_bytes(KvDtype dtype) const;
  const Work& build_work() const { return build_work_; }

 private:
  std::int64_t begin_ = 0, end_ = 0;
  MatrixF centroids_, mean_values_, dimension_variances_, value_map_, key_shape_;
  VectorF variances_, value_spreads_, radii_;
  std::vector<std::int64_t> offsets_ = {0};
  std::vector<std::int32_t> members_;
  Work build_work_;
};

}  // namespace doublep
