// Nearest centroid of every point: the matrix product inside k-means.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/common/types.h"
#include "cuda/index/cluster_build.h"

namespace doublep::cuda {

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

}  // namespace doublep::cuda
