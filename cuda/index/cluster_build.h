// The index of the cluster policies, built on the device: k-means over the keys of every KV head of
// some sequences at once, then keys and values copied into cluster order, so that a cluster is one
// contiguous read.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "core/index/segments.h"
#include "cuda/common/runtime.h"
#include "cuda/common/types.h"
#include "cuda/estimate/estimate.h"

namespace doublep::cuda {

struct ClusterBuildParams {
  DType dtype = DType::kBf16;
  int pairs = 0;  ///< KV heads, of all sequences that are clustered at once
  int head_dim = 0;
  const void* keys = nullptr;    ///< [pairs, source_capacity, head_dim], tokens in order
  const void* values = nullptr;  ///< same
  std::int64_t source_capacity = 0;
  std::int32_t begin = 0;         ///< first clustered token
  std::int32_t source_begin = 0;  ///< the row of keys and values that holds it
  std::int32_t points = 0;        ///< clustered tokens per pair

  void* out_keys = nullptr;    ///< [pairs, out_capacity, head_dim]: rows begin .. in cluster order
  void* out_values = nullptr;  ///< same
  std::int64_t out_capacity = 0;
  std::int32_t* order = nullptr;  ///< [pairs, out_capacity]: the token that a row holds

  void* centroids = nullptr;        ///< [pairs, cluster_capacity, head_dim], means of the members
  void* mean_values = nullptr;      ///< [pairs, cluster_capacity, head_dim]
  ClusterMeta* meta = nullptr;      ///< [pairs, cluster_capacity]
  void* value_map = nullptr;        ///< [pairs, head_dim values, head_dim keys]; null: none
  void* key_shape = nullptr;        ///< [pairs, head_dim, head_dim], of mean diagonal 1; null: none
  std::int32_t* offsets = nullptr;  ///< [pairs, cluster_capacity + 1], rows
  std::int64_t cluster_capacity = 0;
  /// Offsets up to this one are set to the end: clusters that there are not have no rows.
  std::int64_t cluster_room = 0;
};

/// Where Lloyd's algorithm begins, and by which distances it goes.
struct LloydOptions {
  int iterations = 4;
  /// RetroInfer's: on the keys less their mean over all points, with centroids of unit length, and
  /// after the iterations one assignment to the nearest centroid of all segments.
  bool spherical = false;
  /// Point of its segment that a cluster's first centroid sits on, [clusters], host memory; null:
  /// evenly spaced.
  const std::int32_t* first = nullptr;
  /// Symmetric W, float32 [warps, head_dim, head_dim], host memory, which the pairs take in turn:
  /// points are the rows k W; null: the keys themselves (core/index/query_metric.h).
  const float* warp = nullptr;
  int warps = 0;
};

/// Owns the workspace, so that re-clustering allocates nothing; nor does it wait for the device,
/// and what it sends there is a metric alone, where segments and first points are as they were.
class ClusterBuilder {
 public:
  ClusterBuilder(DType dtype, int pairs, int head_dim, std::int64_t points, std::int64_t clusters);

  /// Lloyd's algorithm; assignment on the tensor cores in 16 bits with float32 sums, means in
  /// float32. A cluster that loses all members moves to a far point, as on the CPU. Deterministic.
  void cluster(const ClusterBuildParams& params, const std::vector<Segment>& segments,
               const LloydOptions& options, cudaStream_t stream);
  /// The same from given labels: labels[pair * points + i], host memory.
  void assign(const ClusterBuildParams& params, const std::int32_t* labels, int clusters,
              cudaStream_t stream);

 private:
  template <class T>
  void lloyd(const ClusterBuildParams& params, const std::vector<Segment>& segments,
             const LloydOptions& options, cudaStream_t stream);
  template <class T>
  void send(DeviceBuffer<T>& to, std::vector<T>& held, const T* from, std::size_t count,
            cudaStream_t stream);
  void sort(const ClusterBuildParams& params, int clusters, cudaStream_t stream);
  /// What the step reads, from the sorted labels: means, rows in order, and what else is asked for.
  void finish(const ClusterBuildParams& params, int clusters, cudaStream_t stream);
  void write_clusters(const ClusterBuildParams& params, int clusters, cudaStream_t stream);

  DeviceBuffer<std::uint16_t> centroids_;        // [pairs, clusters, head_dim], 16-bit
  DeviceBuffer<float> half_norms_;               // [pairs, clusters]
  DeviceBuffer<float> distances_;                // [pairs, points]
  DeviceBuffer<float> mean_parts_, means_;       // [pairs, parts, head_dim], [pairs, head_dim]
  DeviceBuffer<std::uint16_t> narrow_keys_;      // [pairs, points, head_dim], float32 caches only
  DeviceBuffer<std::uint16_t> warped_keys_;      // the same, once another metric is asked for
  DeviceBuffer<float> warp_;                     // [warps, head_dim, head_dim]
  DeviceBuffer<std::int32_t> first_;             // [clusters]
  std::vector<std::int32_t> held_first_;         // as it stands on the device
  DeviceBuffer<std::uint32_t> labels_, sorted_;  // [pairs, points]: pair * clusters + cluster
  DeviceBuffer<std::int32_t> tokens_, sorted_tokens_;  // [pairs, points]
  DeviceBuffer<std::int32_t> starts_;                  // [pairs * clusters + 1]
  DeviceBuffer<Segment> segments_;  // those of the clustering, then one of everything
  std::vector<Segment> held_segments_;
  DeviceBuffer<float> map_space_;  // once a map or a shape is asked for
  DeviceBuffer<unsigned char> sort_space_;
  std::size_t sort_bytes_ = 0;
};

}  // namespace doublep::cuda
