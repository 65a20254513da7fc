// Mean key of every KV head, in an order of summation that does not depend on the schedule.
#pragma once

#include "cuda/index/cluster_kernels.cuh"

namespace doublep::cuda {

inline constexpr int kMeanParts = 64;  // of a KV head's points: enough blocks to fill the chip

/// grid (kMeanParts, pairs), a thread per pair of dimensions. sums: [pairs, kMeanParts, head_dim]
template <class T>
__global__ void partial_sums(Points<T> p, std::int32_t points, float* sums) {
  const int d = p.head_dim;
  if (static_cast<int>(2 * threadIdx.x) >= d) return;
  const T* keys = p.keys + blockIdx.y * p.key_stride;
  float2 sum = {0, 0};
#pragma unroll 8
  for (std::int32_t j = blockIdx.x; j < points; j += kMeanParts) {
    const float2 v = load_pair(keys + static_cast<std::int64_t>(j) * d, threadIdx.x);
    sum.x += v.x, sum.y += v.y;
  }
  store_pair(sums + (blockIdx.y * static_cast<std::int64_t>(kMeanParts) + blockIdx.x) * d,
             threadIdx.x, sum);
}

/// grid (1, pairs), a thread per dimension. means: [pairs, head_dim]
static __global__ void finish_means(const float* sums, int d, std::int32_t points, float* means) {
  const int i = threadIdx.x;
  if (i >= d) return;
  double sum = 0;
  for (int part = 0; part < kMeanParts; ++part)
    sum += sums[(blockIdx.y * static_cast<std::int64_t>(kMeanParts) + part) * d + i];
  means[blockIdx.y * d + i] = static_cast<float>(sum / points);
}

}  // namespace doublep::cuda
