// Sums over a thread block, by warp shuffles. The block has a multiple of 32 threads, at most 1024.
#pragma once

#include <cstdint>

namespace doublep::cuda {

struct BlockOps {
  static constexpr int kScratch = 33;  ///< elements that the operations need of shared memory

  /// Exclusive prefix sum of `value`; `total` receives the sum.
  template <class T>
  __device__ static T exclusive_scan(T value, T* scratch, T* total) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int warps = static_cast<int>(blockDim.x) / 32;
    T scan = value;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const T other = __shfl_up_sync(~0u, scan, d);
      if (lane >= d) scan += other;
    }
    __syncthreads();  // the scratch of an earlier call has been read
    if (lane == 31) scratch[warp] = scan;
    __syncthreads();
    if (warp == 0) {
      T sum = lane < warps ? scratch[lane] : T(0), running = sum;
#pragma unroll
      for (int d = 1; d < 32; d *= 2) {
        const T other = __shfl_up_sync(~0u, running, d);
        if (lane >= d) running += other;
      }
      if (lane < warps) scratch[lane] = running - sum;
      if (lane == warps - 1) scratch[32] = running;
    }
    __syncthreads();
    *total = scratch[32];
    return scratch[warp] + scan - value;
  }

  template <class T>
  __device__ static T sum(T value, T* scratch) {
    T total;
    exclusive_scan(value, scratch, &total);
    return total;
  }

  __device__ static float max(float value, float* scratch) {
#pragma unroll
    for (int d = 16; d > 0; d /= 2) value = fmaxf(value, __shfl_xor_sync(~0u, value, d));
    __syncthreads();
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    value = scratch[threadIdx.x % 32 % (blockDim.x / 32)];
#pragma unroll
    for (int d = 16; d > 0; d /= 2) value = fmaxf(value, __shfl_xor_sync(~0u, value, d));
    return value;
  }
};

}  // namespace doublep::cuda
