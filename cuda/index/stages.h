// The stages of a cluster build that are files of their own: cluster_build.cu runs them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/common/types.h"
#include "cuda/index/cluster_build.h"

namespace doublep::cuda {

/// Keys in another metric: what k-means sees instead of them (core/index/query_metric.h).
struct WarpKeysParams {
  DType dtype = DType::kBf16;  ///< kFp16 or kBf16
  int pairs = 0, head_dim = 0;
  std::int32_t points = 0;
  const std::uint16_t* keys = nullptr;  ///< [pairs, key_stride / head_dim, head_dim]
  std::int64_t key_stride = 0;          ///< elements between pairs
  const float* warp = nullptr;          ///< symmetric W: [warps, head_dim, head_dim]
  std::uint16_t* out = nullptr;         ///< [pairs, points, head_dim]
  int warps = 0;                        ///< matrices, which the pairs take in turn; 0: one each
};

/// out = keys W, on the tensor cores with W in 16 bits and sums in float32. The identity leaves
/// every key as it is.
void warp_keys(const WarpKeysParams& params, cudaStream_t stream);

/// Nearest centroid of every point: the matrix product inside k-means.
struct AssignParams {
  DType dtype = DType::kBf16;  ///< kFp16 or kBf16
  int pairs = 0, head_dim = 0, clusters = 0;
  std::int32_t points = 0;
  const std::uint16_t* keys = nullptr;  ///< [pairs, key_stride / head_dim, head_dim], from `begin`
  std::int64_t key_stride = 0;          ///< elements between pairs
  const std::uint16_t* centroids = nullptr;  ///< [pairs, clusters, head_dim]
  /// [pairs, clusters]: |c|^2 / 2, and m.c where distances are those of keys less m
  const float* half_norms = nullptr;
  const Segment* segments = nullptr;  ///< [num_segments]
  int num_segments = 0;
  std::int32_t max_segment = 0;     ///< points of the longest segment
  std::uint32_t* labels = nullptr;  ///< [pairs, points]: pair * clusters + nearest, ties lower
};

void assign_nearest(const AssignParams& params, cudaStream_t stream);

/// Second moments of a KV head's clusters, pooled over all of them: one linear map from where a key
/// lies in its cluster to where its value lies, which moves a cluster's term with the query
/// (core/index/value_shift.h), and the covariance of the keys themselves, which the pooled estimate
/// of a cluster's mass reads (core/index/mass_estimate.h).
///
/// Floats of workspace that those of the two which are asked for need, however many tokens are
/// clustered.
std::int64_t pooled_moments_space(const ClusterBuildParams& params);

/// Fills params.value_map and params.key_shape, whichever is not null, from the rows in cluster
/// order, the centroids and the mean values that the build has just written. `sorted`:
/// [pairs, points], of each row in order pair * clusters + cluster. Deterministic.
void build_pooled_moments(const ClusterBuildParams& params, int clusters,
                          const std::uint32_t* sorted, float* space, cudaStream_t stream);

}  // namespace doublep::cuda
