// Keys in another metric: what k-means sees instead of them (core/index/query_metric.h).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/common/types.h"

namespace doublep::cuda {

struct WarpKeysParams {
  DType dtype = DType::kBf16;  ///< kFp16 or kBf16
  int pairs = 0, head_dim = 0;
  std::int32_t points = 0;
  const std::uint16_t* keys = nullptr;  ///< [pairs, key_stride / head_dim, head_dim]
  std::int64_t key_stride = 0;          ///< elements between pairs
  const float* warp = nullptr;          ///< symmetric W: [pairs, head_dim, head_dim]
  std::uint16_t* out = nullptr;         ///< [pairs, points, head_dim]
};

/// out = keys W, on the tensor cores with W in 16 bits and sums in float32. The identity leaves
/// every key as it is.
void warp_keys(const WarpKeysParams& params, cudaStream_t stream);

}  // namespace doublep::cuda
