// Second moments of a KV head's clusters, pooled over all of them: one linear map from where a key
// lies in its cluster to where its value lies, which moves a cluster's term with the query
// (core/index/value_shift.h), and the covariance of the keys themselves, which the pooled estimate
// of a cluster's mass reads (core/index/mass_estimate.h).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace doublep::cuda {

struct ClusterBuildParams;

/// Floats of workspace that either needs, however many tokens are clustered.
std::int64_t pooled_moments_space(int pairs, int head_dim);

/// Fills params.value_map, or params.key_shape, from the rows in cluster order, the centroids and
/// the mean values that the build has just written. `sorted`: [pairs, points], of each row in order
/// pair * clusters + cluster. Deterministic.
void build_value_map(const ClusterBuildParams& params, int clusters, const std::uint32_t* sorted,
                     float* space, cudaStream_t stream);
void build_key_shape(const ClusterBuildParams& params, int clusters, const std::uint32_t* sorted,
                     float* space, cudaStream_t stream);

}  // namespace doublep::cuda
