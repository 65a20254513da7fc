// Rows of any element type, read and written two dimensions at a time as float32.
#pragma once

#include "cuda/common/mma.cuh"

namespace doublep::cuda {

template <class T>
__device__ float2 load_pair(const T* row, int pair) {
  if constexpr (sizeof(T) == 2)
    return Packed<T>::unpack(reinterpret_cast<const std::uint32_t*>(row)[pair]);
  else
    return reinterpret_cast<const float2*>(row)[pair];
}
template <class T>
__device__ void store_pair(T* row, int pair, float2 v) {
  if constexpr (sizeof(T) == 2)
    reinterpret_cast<std::uint32_t*>(row)[pair] = Packed<T>::pack(v.x, v.y);
  else
    reinterpret_cast<float2*>(row)[pair] = v;
}

__device__ inline float warp_sum(float v) {
  for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(~0u, v, d);
  return v;
}

}  // namespace doublep::cuda
