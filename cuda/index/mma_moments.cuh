// Second moments of clusters on the tensor cores, for 16-bit caches: sums over a KV head's rows of
// [value - mean value; key - centroid] (key - centroid)^T, of which keys, values and what is taken
// off them are read once.
//
// A residual goes in twice, rounded to bfloat16 and remainder, which together hold 16 bits of it:
// rounding does not show. bfloat16 for fp16 caches as well, since the difference of two numbers may
// be beyond what fp16 holds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "cuda/common/mma.cuh"
#include "cuda/index/cluster_build.h"

namespace doublep::cuda {

/// How a block of the kernel below goes about D dimensions. kSides: 1, of values or whatever stands
/// in their place, or 2, keys below them. The sums are a matrix of kSides * D by D per KV head, of
/// which a block makes a tile per side; a side's warps lie kWarpsM x kWarpsN over its tile.
template <int D, int kSides>
struct MomentTiles {
  static constexpr int kTileDim = std::min(D, 128), kTiles = D / kTileDim;
  static constexpr int kWarpsM = D == 80 ? 1 : D > 128 && kSides == 1 ? 4 : 2;
  static constexpr int kWarpsN = D == 80 ? 5 : 4;
  static constexpr int kUnitsM = kTileDim / 16 / kWarpsM, kUnitsN = kTileDim / 16 / kWarpsN;
  static constexpr int kSideWarps = kWarpsM * kWarpsN, kThreads = 32 * kSideWarps * kSides;
  static constexpr int kPerProcessor = kThreads > 320 ? 1 : 2;  // blocks

  /// A stage of rows: a thread has 16 bytes of one key and, within the tile, of one value.
  static constexpr int kPieces = D / 8, kRows = kThreads / kPieces;
  /// Eight elements beyond the dimensions: 16 bytes each of eight rows lie in different banks.
  static constexpr int kKeyPitch = D + 8, kValuePitch = kTileDim + 8;

  /// Tensor cores cut off what does not fit into a sum. Sums leave them after so many rows, to be
  /// added as float32 are: 768 additions cut off some 2e-5 at most.
  static constexpr int kFlush = 4096 / kRows;  // stages

  static_assert(kUnitsM * kWarpsM * 16 == kTileDim && kUnitsN * kWarpsN * 16 == kTileDim);
  static_assert(kRows * kPieces == kThreads && kRows % 16 == 0);
};

template <int D, int kSides>
struct MomentStages {
  using Tiles = MomentTiles<D, kSides>;
  /// [stage % 2][key, centroid, value, mean value][thread]: a thread copies and reads its own.
  uint4 raw[2][4][Tiles::kThreads];
  /// Residuals, [stage % 2][rounded, remainder].
  alignas(16) __nv_bfloat16 keys[2][2][Tiles::kRows][Tiles::kKeyPitch];
  alignas(16) __nv_bfloat16 values[2][2][Tiles::kRows][Tiles::kValuePitch];
  float spreads[Tiles::kThreads / 32];
};

struct MomentParams {
  ClusterBuildParams build;
  int clusters = 0;
  const std::uint32_t* sorted = nullptr;  ///< [pairs, points]
  int rows_per_split = 0;                 ///< whole stages
  float* cross = nullptr;                 ///< [sides, pairs, splits, D, D]
  float* spreads = nullptr;               ///< [pairs, splits]
};

namespace moments {

/// 16 bytes to shared memory, zeros where `valid` is not; centroids, which neighbouring rows have
/// in common, by way of L1.
template <bool kShared>
__device__ void copy_async(uint4* to, const void* from, bool valid) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(to));
  if constexpr (kShared)
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from),
                 "r"(valid ? 16 : 0)
                 : "memory");
  else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from),
                 "r"(valid ? 16 : 0)
                 : "memory");
}

/// Eight differences, rounded and remainder. Returns the sum of their squares.
template <class T>
__device__ float split(const uint4& row, const uint4& centre, __nv_bfloat16* rounded,
                       __nv_bfloat16* remainder) {
  using Wide = Packed<__nv_bfloat16>;
  std::uint32_t high[4], low[4];
  float squares = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 r = Packed<T>::unpack(word_of(row, i)), c = Packed<T>::unpack(word_of(centre, i));
    const float2 v = {r.x - c.x, r.y - c.y};
    squares += v.x * v.x + v.y * v.y;
    high[i] = Wide::pack(v.x, v.y);
    const float2 h = Wide::unpack(high[i]);
    low[i] = Wide::pack(v.x - h.x, v.y - h.y);
  }
  *reinterpret_cast<uint4*>(rounded) = {high[0], high[1], high[2], high[3]};
  *reinterpret_cast<uint4*>(remainder) = {low[0], low[1], low[2], low[3]};
  return squares;
}

/// 16 rows by 16 dimensions of shared memory, transposed: words 0 and 1 are dimensions 0-7 and 8-15
/// of rows 0-7, words 2 and 3 those of rows 8-15. `at` is where this lane's row of eight begins,
/// fragment_offset() from the first.
__device__ inline void load_transposed(std::uint32_t (&words)[4], const __nv_bfloat16* at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(at)))
               : "memory");
}
__device__ inline int fragment_offset(int pitch) {
  const int lane = threadIdx.x % 32, matrix = lane / 8;
  return (matrix / 2 * 8 + lane % 8) * pitch + matrix % 2 * 8;
}

__device__ inline std::uint32_t halved(std::uint32_t v) {
  const __nv_bfloat162 r =
      __hmul2(reinterpret_cast<const __nv_bfloat162&>(v), __floats2bfloat162_rn(0.5f, 0.5f));
  return reinterpret_cast<const std::uint32_t&>(r);
}

}  // namespace moments

/// grid: splits, KV heads, tiles of the map (value tile * kTiles + key tile). What is taken off are
/// the means as stored, in 16 bits rounded: the true means would give the same sum but for, per
/// cluster, its size times the product of the two roundings, which nothing notices. Sums of the
/// products themselves would cancel to the last digits instead.
///
/// Values by keys are rounded * rounded + rounded * remainder + remainder * rounded. Keys by keys
/// are symmetric: of those only A = rounded * rounded / 2 + rounded * remainder is made, and
/// A + A^T is what is meant.
template <class T, int D, int kSides>
__global__ void __launch_bounds__(MomentTiles<D, kSides>::kThreads,
                                  MomentTiles<D, kSides>::kPerProcessor)
    mma_cross_products(const __grid_constant__ MomentParams m) {
  using Tiles = MomentTiles<D, kSides>;
  using Bf16 = Packed<__nv_bfloat16>;
  constexpr int kRows = Tiles::kRows, kUnitsM = Tiles::kUnitsM, kUnitsN = Tiles::kUnitsN;
  extern __shared__ __align__(16) unsigned char shared[];
  auto& s = *reinterpret_cast<MomentStages<D, kSides>*>(shared);
  const ClusterBuildParams& p = m.build;
  const int t = threadIdx.x, warp = t / 32;
  const int value_tile = blockIdx.z / Tiles::kTiles, key_tile = blockIdx.z % Tiles::kTiles;
  const std::int64_t pair = blockIdx.y;
  const int begin = blockIdx.x * m.rows_per_split, end = min(p.points, begin + m.rows_per_split);
  const int stages = (end - begin + kRows - 1) / kRows;

  const int row = t / Tiles::kPieces, piece = t % Tiles::kPieces;
  const bool has_value = 8 * piece < Tiles::kTileDim;
  const int key_at = 8 * piece, value_at = value_tile * Tiles::kTileDim + 8 * piece;
  const std::uint32_t* labels = m.sorted + pair * p.points;
  const std::int64_t out = (pair * p.out_capacity + p.begin) * D;
  const std::int64_t slots = pair * (p.cluster_capacity - m.clusters);  // labels count pairs, too
  const T* key_rows = static_cast<const T*>(p.out_keys) + out;
  const T* value_rows = static_cast<const T*>(p.out_values) + out;
  const auto label_of = [&](int stage) {
    return labels[min(begin + stage * kRows + row, end - 1)];
  };
  const auto copy = [&](int stage, std::uint32_t label) {
    const int place = begin + stage * kRows + row;
    const bool valid = place < end;
    const std::int64_t from = static_cast<std::int64_t>(min(place, end - 1)) * D,
                       slot = (slots + label) * D;
    uint4* to = s.raw[stage % 2][0] + t;
    constexpr int kNext = Tiles::kThreads;
    if (stage < stages) {
      moments::copy_async<false>(to, key_rows + from + key_at, valid);
      moments::copy_async<true>(to + kNext, static_cast<const T*>(p.centroids) + slot + key_at,
                                valid);
      if (has_value) {
        moments::copy_async<false>(to + 2 * kNext, value_rows + from + value_at, valid);
        moments::copy_async<true>(to + 3 * kNext,
                                  static_cast<const T*>(p.mean_values) + slot + value_at, valid);
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  };

  // This warp's part of a tile: dimensions of its side from `left`, of the keys from `right`.
  const int side = kSides == 1 ? 0 : warp / Tiles::kSideWarps, within = warp % Tiles::kSideWarps;
  const int left = within / Tiles::kWarpsN * kUnitsM * 16;
  const int right = key_tile * Tiles::kTileDim + within % Tiles::kWarpsN * kUnitsN * 16;
  const int left_pitch = side == 0 ? Tiles::kValuePitch : Tiles::kKeyPitch;
  const int left_at =
      moments::fragment_offset(left_pitch) + left + (side == 0 ? 0 : value_tile * Tiles::kTileDim);
  const int right_at = moments::fragment_offset(Tiles::kKeyPitch) + right;
  float sum[kUnitsM][2 * kUnitsN][4] = {};

  const auto products = [&]<bool kSymmetric>(std::bool_constant<kSymmetric>, int buffer) {
    constexpr int kLeftPitch = kSymmetric ? Tiles::kKeyPitch : Tiles::kValuePitch;
    const __nv_bfloat16* lefts[2];
    const __nv_bfloat16* rights[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      lefts[i] = (kSymmetric ? &s.keys[buffer][i][0][0] : &s.values[buffer][i][0][0]) + left_at;
      rights[i] = &s.keys[buffer][i][0][0] + right_at;
    }
#pragma unroll
    for (int k = 0; k < kRows; k += 16) {
      std::uint32_t b[2][kUnitsN][4];
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int n = 0; n < kUnitsN; ++n)
          moments::load_transposed(b[i][n], rights[i] + k * Tiles::kKeyPitch + 16 * n);
#pragma unroll
      for (int u = 0; u < kUnitsM; ++u) {
        std::uint32_t a[4], rest[4];
        moments::load_transposed(a, lefts[0] + k * kLeftPitch + 16 * u);
        const auto add = [&](const std::uint32_t(&x)[4], int part) {
#pragma unroll
          for (int n = 0; n < 2 * kUnitsN; ++n)
            Bf16::mma(sum[u][n], x[0], x[1], x[2], x[3], b[part][n / 2][n % 2],
                      b[part][n / 2][n % 2 + 2]);
        };
        add(a, 1);
        if constexpr (!kSymmetric) {
          moments::load_transposed(rest, lefts[1] + k * kLeftPitch + 16 * u);
          add(rest, 0);
        } else {
#pragma unroll
          for (std::uint32_t& word : a) word = moments::halved(word);
        }
        add(a, 0);
      }
    }
  };

  const int lane = t % 32;
  float* to =
      m.cross +
      ((side * static_cast<std::int64_t>(gridDim.y) + pair) * gridDim.x + blockIdx.x) * D * D +
      (value_tile * Tiles::kTileDim + left + lane / 4) * D + right + 2 * (lane % 4);
  const auto flush = [&](bool further) {
#pragma unroll
    for (int u = 0; u < kUnitsM; ++u)
#pragma unroll
      for (int n = 0; n < 2 * kUnitsN; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          auto* at = reinterpret_cast<float2*>(to + (16 * u + 8 * half) * D + 8 * n);
          float2 v = {sum[u][n][2 * half], sum[u][n][2 * half + 1]};
          if (further) v.x += at->x, v.y += at->y;
          *at = v;
          sum[u][n][2 * half] = sum[u][n][2 * half + 1] = 0;
        }
  };

  // Two stages are on their way while one is multiplied. A thread reads what it copied itself, so
  // that one barrier a stage will do: the residuals that a thread overwrites are of two stages
  // before, and whoever came past the last barrier is through with those.
  copy(0, label_of(0));
  copy(1, label_of(1));
  std::uint32_t next = label_of(2);
  float spread = 0;
  for (int i = 0; i < stages; ++i) {
    const int buffer = i % 2;
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    spread += moments::split<T>(s.raw[buffer][0][t], s.raw[buffer][1][t],
                                &s.keys[buffer][0][row][key_at], &s.keys[buffer][1][row][key_at]);
    if (has_value)
      moments::split<T>(s.raw[buffer][2][t], s.raw[buffer][3][t], &s.values[buffer][0][row][key_at],
                        &s.values[buffer][1][row][key_at]);
    copy(i + 2, next);
    next = label_of(i + 3);
    __syncthreads();
    if (kSides == 1 || side == 0)
      products(std::false_type{}, buffer);
    else
      products(std::true_type{}, buffer);
    if (i + 1 == stages || (i + 1) % Tiles::kFlush == 0) flush(i >= Tiles::kFlush);
  }

  if (blockIdx.z != 0) return;  // the other tiles have the same spread
  spread = warp_sum(spread);
  if (lane == 0) s.spreads[warp] = spread;
  __syncthreads();
  if (t != 0) return;
  spread = 0;
  for (const float of_warp : s.spreads) spread += of_warp;
  m.spreads[pair * gridDim.x + blockIdx.x] = spread;
}

}  // namespace doublep::cuda
