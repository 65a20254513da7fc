#include <cmath>

#include "cuda/common/launch.h"
#include "cuda/common/mma.cuh"
#include "cuda/common/types.h"
#include "cuda/index/stages.h"

namespace doublep::cuda {
namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;
constexpr int kStage = 64;  // centroids in shared memory at a time
constexpr int kRing = 3;    // stages: one is multiplied while two are on their way

/// A row of centroids in shared memory: 64 bytes beyond a multiple of 128, so that the eight lanes
/// that read 16 bytes each in one cycle touch every bank once.
template <int D>
constexpr int kPitch = (2 * D + 127) / 128 * 128 + 64;

__device__ void copy_async(void* shared, const void* global, bool valid) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global),
               "r"(valid ? 16 : 0)
               : "memory");
}
__device__ void copy_async(float* shared, const float* global) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(address), "l"(global) : "memory");
}

template <int D>
struct Stage {
  unsigned char rows[kStage * kPitch<D>];
  float half_norms[kStage];

  /// Centroids [first, first + kStage) of the segment; absent ones can never be nearest.
  __device__ void fill(const std::uint16_t* centroids, const float* norms, int first, int count) {
    constexpr int kPieces = (D + 31) / 32 * 4;  // 16 bytes each, zeros beyond D
    for (int i = threadIdx.x; i < kStage * kPieces; i += kThreads) {
      const int r = i / kPieces, piece = i % kPieces;
      const bool valid = first + r < count && piece * 8 < D;
      const std::uint16_t* from =
          valid ? centroids + static_cast<std::int64_t>(first + r) * D + piece * 8 : centroids;
      copy_async(rows + r * kPitch<D> + piece * 16, from, valid);
    }
    for (int r = threadIdx.x; r < kStage; r += kThreads)
      if (first + r < count)
        copy_async(half_norms + r, norms + first + r);
      else
        half_norms[r] = INFINITY;
  }
};

/// grid (point blocks, segments, pairs); a warp holds kTiles tiles of 16 points in registers while
/// all centroids of the segment pass by.
template <class T, int D, int kTiles>
__global__ void __launch_bounds__(kThreads, 2)
    assign_kernel(const __grid_constant__ AssignParams p) {
  extern __shared__ __align__(16) unsigned char shared[];
  auto* ring = reinterpret_cast<Stage<D>*>(shared);
  const Segment segment = p.segments[blockIdx.y];
  const int pair = blockIdx.z, warp = threadIdx.x / 32;
  const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
  const int base = (blockIdx.x * kWarps + warp) * 16 * kTiles;
  if (static_cast<int>(blockIdx.x * kWarps * 16 * kTiles) >= segment.points) return;

  const std::uint16_t* keys =
      p.keys + pair * p.key_stride + static_cast<std::int64_t>(segment.point) * D;
  const std::int64_t first_cluster = static_cast<std::int64_t>(pair) * p.clusters + segment.cluster;
  const std::uint16_t* centroids = p.centroids + first_cluster * D;
  const float* norms = p.half_norms + first_cluster;

  RowFragment<D> points[kTiles];
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    const int low = base + 16 * t + g, high = low + 8;
    points[t].load(low < segment.points ? keys + static_cast<std::int64_t>(low) * D : nullptr,
                   high < segment.points ? keys + static_cast<std::int64_t>(high) * D : nullptr);
  }
  float best[kTiles][2];
  int nearest[kTiles][2];
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
    best[t][0] = best[t][1] = -INFINITY, nearest[t][0] = nearest[t][1] = 0;

  const int count = (segment.clusters + kStage - 1) / kStage;
  const auto fill = [&](int i) {
    if (i < count) ring[i % kRing].fill(centroids, norms, i * kStage, segment.clusters);
    asm volatile("cp.async.commit_group;" ::: "memory");  // an empty one where there is no more
  };
#pragma unroll
  for (int i = 0; i < kRing - 1; ++i) fill(i);
  for (int i = 0; i < count; ++i) {
    asm volatile("cp.async.wait_group %0;" ::"n"(kRing - 2) : "memory");
    // Everybody's part of stage i is there, and everybody is through with stage i - 1, whose place
    // the next one takes.
    __syncthreads();
    fill(i + kRing - 1);
    const Stage<D>& stage = ring[i % kRing];
    const int first = i * kStage;
#pragma unroll 2
    for (int n = 0; n < kStage; n += 8) {
      float s[kTiles][4] = {};
#pragma unroll
      for (int j = 0; j < RowFragment<D>::kChunks; ++j) {
        const uint4 b =
            *reinterpret_cast<const uint4*>(stage.rows + (n + g) * kPitch<D> + 64 * j + 16 * c);
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
          const uint4 &low = points[t].low[j], &high = points[t].high[j];
          Packed<T>::mma(s[t], low.x, high.x, low.y, high.y, b.x, b.y);
          Packed<T>::mma(s[t], low.z, high.z, low.w, high.w, b.z, b.w);
        }
      }
      const float2 norm = *reinterpret_cast<const float2*>(stage.half_norms + n + 2 * c);
      const int id = first + n + 2 * c;
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float score = s[t][i] - (i & 1 ? norm.y : norm.x);
          if (score > best[t][i / 2]) best[t][i / 2] = score, nearest[t][i / 2] = id + (i & 1);
        }
    }
  }
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int lanes = 1; lanes < 4; lanes *= 2) {
        const float score = __shfl_xor_sync(~0u, best[t][i], lanes);
        const int id = __shfl_xor_sync(~0u, nearest[t][i], lanes);
        if (score > best[t][i] || (score == best[t][i] && id < nearest[t][i]))
          best[t][i] = score, nearest[t][i] = id;
      }
      const int point = base + 16 * t + g + 8 * i;
      if (c == 0 && point < segment.points)
        p.labels[static_cast<std::int64_t>(pair) * p.points + segment.point + point] =
            static_cast<std::uint32_t>(first_cluster + nearest[t][i]);
    }
}

template <class T>
void launch_assign(const AssignParams& p, cudaStream_t stream) {
  for_head_dim(p.head_dim, [&]<int kDim>(std::integral_constant<int, kDim>) {
    constexpr int kTiles = kDim > 128 ? 1 : 2, kPoints = kWarps * 16 * kTiles;
    const dim3 grid((p.max_segment + kPoints - 1) / kPoints, p.num_segments, p.pairs);
    launch({grid, dim3(kThreads), kRing * sizeof(Stage<kDim>), stream},
           assign_kernel<T, kDim, kTiles>, p);
  });
}

}  // namespace

void assign_nearest(const AssignParams& p, cudaStream_t stream) {
  if (p.dtype == DType::kFp16)
    launch_assign<__half>(p, stream);
  else
    launch_assign<__nv_bfloat16>(p, stream);
}

}  // namespace doublep::cuda
