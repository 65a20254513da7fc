#include <algorithm>
#include <type_traits>

#include "cuda/common/launch.h"
#include "cuda/common/mma.cuh"
#include "cuda/common/types.h"
#include "cuda/index/cluster_build.h"
#include "cuda/index/mma_moments.cuh"
#include "cuda/index/stages.h"

namespace doublep::cuda {
namespace {

// Of the kernel for float32 caches, which the tensor cores would round.
constexpr int kThreads = 256, kSide = 16;  // threads as kSide x kSide
constexpr int kRows = 32;                  // staged at a time
constexpr int kMaxTile = 128;              // of the map's rows and columns, per block

int tiles_of(int head_dim) { return head_dim > kMaxTile ? head_dim / kMaxTile : 1; }

/// How the rows are shared out: a block's stages, and how many blocks the chip holds at once.
/// Their work is equal, so that as many as those finish together.
struct Layout {
  int sides = 1;  ///< maps made in one pass
  int stage = kRows, per_processor = 2;
};
Layout layout_of(const ClusterBuildParams& p) {
  if (p.dtype == DType::kFp32) return {};
  const int sides = p.value_map && p.key_shape ? 2 : 1;
  return for_head_dim(p.head_dim, [&](auto dim) -> Layout {
    using One = MomentTiles<decltype(dim)::value, 1>;
    using Both = MomentTiles<decltype(dim)::value, 2>;
    return sides == 2 ? Layout{sides, Both::kRows, Both::kPerProcessor}
                      : Layout{sides, One::kRows, One::kPerProcessor};
  });
}

int max_splits(const ClusterBuildParams& p, const Layout& layout) {
  int device = 0, processors = 0;
  DP_CUDA(cudaGetDevice(&device));
  DP_CUDA(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device));
  const int tiles = tiles_of(p.head_dim);
  return std::max(1, layout.per_processor * processors / std::max(1, p.pairs * tiles * tiles));
}

/// The dimension of a tile that thread t of a side holds as its r-th: four neighbours where that
/// comes out even, so that shared memory is read 16 bytes at a time.
template <int kPer>
__device__ int dimension(int r, int t) {
  return kPer % 4 == 0 ? r / 4 * 4 * kSide + 4 * t + r % 4 : r * kSide + t;
}
template <int kPer>
__device__ void load_mine(const float* row, int t, float (&out)[kPer]) {
#pragma unroll
  for (int r = 0; r < kPer; ++r) {
    if constexpr (kPer % 4 == 0) {
      if (r % 4 != 0) continue;
      const float4 v = *reinterpret_cast<const float4*>(row + dimension<kPer>(r, t));
      out[r] = v.x, out[r + 1] = v.y, out[r + 2] = v.z, out[r + 3] = v.w;
    } else {
      out[r] = row[dimension<kPer>(r, t)];
    }
  }
}

/// Sums over `rows_per_split` rows of (value - mean value)(key - centroid)^T, and of
/// |key - centroid|^2. grid: splits, KV heads, tiles of the map (value tile * tiles + key tile).
template <class T, int kTileDim>
__global__ void __launch_bounds__(kThreads, 2)
    cross_products(ClusterBuildParams p, int clusters, const std::uint32_t* sorted,
                   int rows_per_split, float* cross, float* spreads) {
  constexpr int kPer = kTileDim / kSide, kPairs = kTileDim / 2;
  __shared__ alignas(16) float values[kRows][kTileDim], keys[kRows][kTileDim];
  __shared__ float warp_spreads[kThreads / 32];
  const int d = p.head_dim, tiles = d / kTileDim, t = threadIdx.x;
  const int value_tile = blockIdx.z / tiles, key_tile = blockIdx.z % tiles;
  const std::int64_t pair = blockIdx.y;
  const int begin = blockIdx.x * rows_per_split, end = min(p.points, begin + rows_per_split);
  const std::uint32_t* labels = sorted + pair * p.points;
  const std::int64_t out = (pair * p.out_capacity + p.begin) * d;
  const std::int64_t slots = pair * (p.cluster_capacity - clusters);  // labels count pairs, too
  const T* key_rows = static_cast<const T*>(p.out_keys) + out + key_tile * kTileDim;
  const T* value_rows = static_cast<const T*>(p.out_values) + out + value_tile * kTileDim;
  const T* centroids = static_cast<const T*>(p.centroids) + key_tile * kTileDim;
  const T* means = static_cast<const T*>(p.mean_values) + value_tile * kTileDim;

  float sum[kPer][kPer] = {}, spread = 0;
  for (int first = begin; first < end; first += kRows) {
    __syncthreads();
    static_assert(kRows * kPairs % kThreads == 0);
#pragma unroll 4
    for (int i = 0; i < kRows * kPairs / kThreads; ++i) {
      const int at = i * kThreads + t, row = at / kPairs, n = at % kPairs;
      const int place = min(first + row, end - 1);  // loads do not wait for a condition
      const float keep = first + row < end ? 1.f : 0.f;
      const std::int64_t slot = (slots + labels[place]) * d,
                         from = static_cast<std::int64_t>(place) * d;
      const float2 k = load_pair(key_rows + from, n), c = load_pair(centroids + slot, n);
      const float2 v = load_pair(value_rows + from, n), m = load_pair(means + slot, n);
      const float2 key = {keep * (k.x - c.x), keep * (k.y - c.y)};
      spread += key.x * key.x + key.y * key.y;
      store_pair(keys[row], n, key);
      store_pair(values[row], n, {keep * (v.x - m.x), keep * (v.y - m.y)});
    }
    __syncthreads();
#pragma unroll 4
    for (int row = 0; row < kRows; ++row) {
      float value[kPer], key[kPer];
      load_mine<kPer>(values[row], t / kSide, value);
      load_mine<kPer>(keys[row], t % kSide, key);
#pragma unroll
      for (int i = 0; i < kPer; ++i)
#pragma unroll
        for (int j = 0; j < kPer; ++j) sum[i][j] += value[i] * key[j];
    }
  }

  const std::int64_t part = pair * gridDim.x + blockIdx.x;
  float* to = cross + part * d * d;
#pragma unroll
  for (int i = 0; i < kPer; ++i)
#pragma unroll
    for (int j = 0; j < kPer; ++j)
      to[(value_tile * kTileDim + dimension<kPer>(i, t / kSide)) * d + key_tile * kTileDim +
         dimension<kPer>(j, t % kSide)] = sum[i][j];
  if (value_tile != 0) return;  // the other tiles of these keys have the same spread
  spread = warp_sum(spread);
  if (t % 32 == 0) warp_spreads[t / 32] = spread;
  __syncthreads();
  if (t != 0) return;
  spread = 0;
  for (const float s : warp_spreads) spread += s;
  spreads[part * tiles + key_tile] = spread;
}

/// Adds the splits in their order, over the mean spread of a dimension. grid.y: KV head.
/// `symmetric`: what is meant is the sum and its transpose. spreads: [pairs, parts]
template <class T>
__global__ void finish_moments(const float* cross, const float* spreads, int splits, int parts,
                               int d, bool symmetric, T* map) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), elements = d * d;
  const std::int64_t pair = blockIdx.y;
  if (i >= elements) return;
  const int mirrored = i % d * d + i / d;
  float sum = 0, spread = 0;
  for (int s = 0; s < splits; ++s) {
    const float* of_split = cross + (pair * splits + s) * elements;
    sum += symmetric ? of_split[i] + of_split[mirrored] : of_split[i];
  }
  for (int s = 0; s < parts; ++s) spread += spreads[pair * parts + s];
  float slope = spread > 0 ? sum / (spread / static_cast<float>(d)) : 0.f;
  // A slope beyond the type goes with a spread next to nothing, which it is multiplied by: an
  // infinity would make NaN of what does not count.
  if constexpr (std::is_same_v<T, __half>)
    if (fabsf(slope) > 65504.f) slope = copysignf(65504.f, slope);
  map[pair * elements + i] = Packed<T>::from_float(slope);
}

template <class T>
void build(const ClusterBuildParams& p, int clusters, const std::uint32_t* sorted, float* space,
           cudaStream_t stream) {
  const int d = p.head_dim;
  const Layout layout = layout_of(p);
  const int most = max_splits(p, layout);
  // Whole stages, and none without rows: a short cache has fewer splits.
  const int rows = ((p.points + most - 1) / most + layout.stage - 1) / layout.stage * layout.stage;
  const int splits = (p.points + rows - 1) / rows;
  const std::int64_t side = static_cast<std::int64_t>(p.pairs) * splits * d * d;
  float *cross = space, *spreads = space + layout.sides * side;
  int parts = splits;  // of a spread
  for_head_dim(d, [&](auto dim) {
    constexpr int kDim = decltype(dim)::value;
    if constexpr (std::is_same_v<T, float>) {
      const int tiles = tiles_of(d);
      parts = splits * tiles;
      launch({dim3(splits, p.pairs, tiles * tiles), dim3(kThreads), 0, stream},
             cross_products<T, std::min<int>(kDim, kMaxTile)>, p, clusters, sorted, rows, cross,
             spreads);
    } else {
      const auto run = [&]<int kSides>(std::integral_constant<int, kSides>) {
        using Tiles = MomentTiles<kDim, kSides>;
        launch({dim3(splits, p.pairs, Tiles::kTiles * Tiles::kTiles), dim3(Tiles::kThreads),
                sizeof(MomentStages<kDim, kSides>), stream},
               mma_cross_products<T, kDim, kSides>,
               MomentParams{p, clusters, sorted, rows, cross, spreads});
      };
      layout.sides == 2 ? run(std::integral_constant<int, 2>{})
                        : run(std::integral_constant<int, 1>{});
    }
  });
  const auto finish = [&](const float* sums, bool symmetric, void* map) {
    launch({dim3((d * d + kThreads - 1) / kThreads, p.pairs), dim3(kThreads), 0, stream},
           finish_moments<T>, sums, static_cast<const float*>(spreads), splits, parts, d, symmetric,
           static_cast<T*>(map));
  };
  finish(cross, false, p.value_map);
  if (layout.sides == 2) finish(cross + side, true, p.key_shape);
}

/// A key shape by itself is a map from keys to keys.
ClusterBuildParams of_keys(ClusterBuildParams p) {
  p.out_values = p.out_keys, p.mean_values = p.centroids;
  p.value_map = p.key_shape, p.key_shape = nullptr;
  return p;
}

}  // namespace

std::int64_t pooled_moments_space(const ClusterBuildParams& p) {
  const Layout layout = layout_of(p);
  const std::int64_t d = p.head_dim;
  return static_cast<std::int64_t>(p.pairs) * max_splits(p, layout) *
         (layout.sides * d * d + tiles_of(p.head_dim));
}

void build_pooled_moments(const ClusterBuildParams& p, int clusters, const std::uint32_t* sorted,
                          float* space, cudaStream_t stream) {
  if (!p.value_map && p.key_shape)
    return build_pooled_moments(of_keys(p), clusters, sorted, space, stream);
  switch (p.dtype) {
    case DType::kFp32:
      build<float>(p, clusters, sorted, space, stream);
      if (p.key_shape) build<float>(of_keys(p), clusters, sorted, space, stream);
      return;
    case DType::kFp16:
      return build<__half>(p, clusters, sorted, space, stream);
    case DType::kBf16:
      return build<__nv_bfloat16>(p, clusters, sorted, space, stream);
  }
}

}  // namespace doublep::cuda
