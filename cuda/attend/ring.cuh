// A warp's ring of tiles on their way from global to shared memory: as many bytes stay under way
// while it computes as while it waits, across the border of a pair too.
#pragma once

#include "cuda/attend/shares.cuh"
#include "cuda/common/bulk_copy.cuh"

namespace doublep::cuda {

/// One stage: 16 rows of keys, then 16 of values.
template <class T, int D>
struct RingStage {
  static constexpr std::uint32_t kRowBytes = D * sizeof(T), kHalf = kTile * kRowBytes;
  static constexpr std::size_t kBytes = 2 * kHalf;
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

template <class T, int D>
class Ring {
 public:
  using Stage = RingStage<T, D>;

  /// `rows`, `barriers`: this warp's part of shared memory.
  __device__ Ring(unsigned char* rows, std::uint64_t* barriers, int depth)
      : rows_(rows), barriers_(barriers), depth_(depth) {
    if (threadIdx.x % 32 == 0)
      for (int i = 0; i < depth; ++i) barrier_init(barriers + i);
    barrier_init_fence();
    __syncwarp();
  }
  /// The warp's tiles are tile, tile + stride, ... before `end`. Starts the first copies.
  __device__ void open(const AttendParams& p, const std::int32_t* prefix, std::int32_t tile,
                       std::int32_t stride, std::int32_t end, int pair) {
    tile_ = tile, stride_ = stride, end_ = end, pair_ = pair;
#pragma unroll 1
    for (now_ = 0; now_ < depth_; ++now_) fetch(p, prefix);
    now_ = 0;
  }
  /// Waits for the oldest tile.
  __device__ void wait() { barrier_wait(barriers_ + now_, parity_); }
  __device__ const T* keys() const { return reinterpret_cast<const T*>(stage()); }
  __device__ const T* values() const { return reinterpret_cast<const T*>(stage() + Stage::kHalf); }
  /// All lanes have read the oldest tile: its place takes the next one.
  __device__ void advance(const AttendParams& p, const std::int32_t* prefix) {
    __syncwarp();
    fetch(p, prefix);
    if (++now_ == depth_) now_ = 0, parity_ ^= 1;
  }

 private:
  __device__ unsigned char* stage() const { return rows_ + now_ * Stage::kBytes; }

  __device__ void fetch(const AttendParams& p, const std::int32_t* prefix) {
    if (tile_ >= end_) return;
    while (tile_ >= prefix[pair_ + 1]) ++pair_;
    const int lane = threadIdx.x % 32;
    const std::int32_t row = (tile_ - prefix[pair_]) * kTile;
    const std::uint32_t bytes =
        min(kTile, p.lengths[pair_ / p.shape.kv_heads] - row) * Stage::kRowBytes;
    if (lane == 0) barrier_expect(barriers_ + now_, 2 * bytes);
    __syncwarp();
    if (lane < 2)
      bulk_copy(
          stage() + lane * Stage::kHalf,
          static_cast<const T*>(lane == 0 ? p.keys : p.values) + (pair_ * p.capacity + row) * D,
          bytes, barriers_ + now_);
    tile_ += stride_;
  }

  unsigned char* rows_;
  std::uint64_t* barriers_;
  int depth_, now_ = 0;
  std::uint32_t parity_ = 0;
  std::int32_t tile_ = 0, stride_ = 0, end_ = 0;  // of the next tile to fetch
  int pair_ = 0;
};

#endif

}  // namespace doublep::cuda
