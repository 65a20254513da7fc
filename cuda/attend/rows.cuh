// 16 rows of work as an engine sees them, wherever they lie.
#pragma once

#include "cuda/attend/attend.h"
#include "cuda/common/mma.cuh"

namespace doublep::cuda {

/// In global memory. kGather: slot r holds row ids[r], else row + r. Absent rows are null.
template <class T, int D, bool kGather>
struct GlobalRows {
  using Load = LoadOnce;
  const T *keys, *values;  ///< of the pair, or of its clusters
  std::uint32_t row, all;
  int count;
  const std::uint32_t* ids;

  __device__ std::uint32_t id(int r) const { return kGather ? ids[r] & kIdMask : row + r; }
  /// Which heads attend slot r.
  __device__ std::uint32_t mask(int r) const {
    if (r >= count) return 0;
    return kGather ? ids[r] >> kIdBits : all;
  }
  __device__ const T* key(int r) const { return at(keys, r); }
  __device__ const T* value(int r) const { return at(values, r); }

 private:
  __device__ const T* at(const T* base, int r) const {
    return r < count ? base + static_cast<std::int64_t>(id(r)) * D : nullptr;
  }
};

/// In shared memory, slot after slot. Keys of absent rows hold anything: the mask keeps their
/// logits out, but a weight of zero times a value that is not a number would stay.
template <class T, int D>
struct StagedRows {
  using Load = LoadShared;
  const T *keys, *values;
  int count;
  std::uint32_t all;

  __device__ std::uint32_t mask(int r) const { return r < count ? all : 0; }
  __device__ const T* key(int r) const { return keys + r * D; }
  __device__ const T* value(int r) const { return r < count ? values + r * D : nullptr; }
};

}  // namespace doublep::cuda
