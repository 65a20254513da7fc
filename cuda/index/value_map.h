// One linear map per KV head from where a key lies in its cluster to where its value lies: what
// moves a cluster's term with the query (core/index/value_shift.h).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace doublep::cuda {

struct ClusterBuildParams;

/// Floats of workspace that build_value_map needs, however many tokens are clustered.
std::int64_t value_map_space(int pairs, int head_dim);

/// Fills params.value_map from the rows in cluster order, the centroids and the mean values that
/// the build has just written. `sorted`: [pairs, points], of each row in order
/// pair * clusters + cluster. Deterministic.
void build_value_map(const ClusterBuildParams& params, int clusters, const std::uint32_t* sorted,
                     float* space, cudaStream_t stream);

}  // namespace doublep::cuda
