#include <algorithm>
#include <cmath>

#include "cuda/common/dispatch.h"
#include "cuda/common/launch.h"
#include "cuda/common/mma.cuh"
#include "cuda/estimate/estimate.h"

namespace doublep::cuda {
namespace {

constexpr int kWarps = 4;

/// Where a zone slot's key lies: sinks first, then the tail; null beyond.
__device__ const void* zone_row(const EstimateParams& p, int pair, int slot, int bytes) {
  const int b = pair / p.shape.kv_heads;
  const int sink = p.sink_end[b], row = slot < sink ? slot : p.tail_begin[b] + slot - sink;
  if (row >= p.lengths[b]) return nullptr;
  return static_cast<const char*>(p.keys) +
         (pair * p.key_capacity + row) * p.shape.head_dim * bytes;
}

/// What lies on top of the scaled dot product.
__device__ float correction(const EstimateParams& p, int pair, int row, float spread) {
  if (!p.meta) return 0;
  const ClusterMeta meta = p.meta[pair * p.capacity + row];
  return meta.log_size + (p.second_order ? spread * meta.variance : 0.f);
}

/// grid (shares of the tiles, pairs); a warp scores 16 rows at a time for all heads of the pair.
template <class T, int D, bool kPages>
__global__ void __launch_bounds__(32 * kWarps)
    estimate_mma(const __grid_constant__ EstimateParams p, int row_tiles, int tiles) {
  const int pair = blockIdx.y, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
  const int group = p.shape.group;
  dependency_release();
  dependency_wait();
  const int num_rows = p.num_rows[pair];
  QueryFragment<T, D> q;
  q.load(static_cast<const T*>(p.queries) + static_cast<std::int64_t>(pair) * group * D, group);
  float2 spread = {0, 0};
  if (p.second_order) {
    spread = q.squared_norms();
    spread.x *= 0.5f * p.scale * p.scale, spread.y *= 0.5f * p.scale * p.scale;
  }
  const auto halves = [&](auto half) {
    QueryFragment<T, D> out = q;
#pragma unroll
    for (auto& v : out.chunk) v = {half(v.x), half(v.y), half(v.z), half(v.w)};
    return out;
  };
  using Bits = const std::uint16_t;
  for (int tile = blockIdx.x * kWarps + threadIdx.x / 32; tile < tiles;
       tile += gridDim.x * kWarps) {
    const bool zone = tile >= row_tiles;
    const int count = zone ? static_cast<int>(p.zone_capacity) : num_rows;
    const int first = (zone ? tile - row_tiles : tile) * kTile;
    if (first >= count) continue;
    const auto row = [&](const void* base, int r) -> Bits* {
      if (first + r >= count) return nullptr;
      if (zone) return static_cast<Bits*>(zone_row(p, pair, first + r, 2));
      return static_cast<Bits*>(base) + (pair * p.capacity + first + r) * D;
    };
    RowFragment<D> rows;
    Bits* low = row(p.rows, g);
    Bits* high = row(p.rows, g + 8);
    rows.load(low, high);
    float s[4] = {0, 0, 0, 0};
    if constexpr (kPages) {
      RowFragment<D> lows;
      lows.load(row(p.lows, g), row(p.lows, g + 8));
      rows.dot(halves(Packed<T>::positive), s);
      lows.dot(halves(Packed<T>::negative), s);
    } else {
      rows.dot(q, s);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int head = 2 * c + (i & 1), r = first + (i < 2 ? g : g + 8);
      if (head >= group || (zone && r >= count)) continue;
      const std::int64_t out = static_cast<std::int64_t>(pair) * group + head;
      if (zone)
        p.zone_logits[out * p.zone_capacity + r] =
            (i < 2 ? low : high) ? s[i] * p.scale : -INFINITY;
      else  // the capacity is a multiple of 16
        p.logits[out * p.capacity + r] =
            r < count ? s[i] * (kPages ? 1.f : p.scale) +
                            correction(p, pair, r, i & 1 ? spread.y : spread.x)
                      : -INFINITY;
    }
  }
}

/// float32: one warp a row and head.
__global__ void estimate_simt(const __grid_constant__ EstimateParams p, int row_tiles) {
  const int pair = blockIdx.y, d = p.shape.head_dim, lane = threadIdx.x % 32;
  const int slot = blockIdx.x * kWarps + threadIdx.x / 32;
  dependency_release();
  dependency_wait();
  const bool zone = slot >= row_tiles * kTile;
  const int r = zone ? slot - row_tiles * kTile : slot;
  const int count = zone ? static_cast<int>(p.zone_capacity) : p.num_rows[pair];
  if (r >= (zone ? count : (count + 3) / 4 * 4)) return;
  const bool absent = r >= count;  // -infinity up to a multiple of 4
  const std::int64_t at = (pair * p.capacity + (absent ? 0 : r)) * d;
  const float* row = zone ? static_cast<const float*>(zone_row(p, pair, r, 4))
                          : static_cast<const float*>(p.rows) + at;
  for (int h = 0; h < p.shape.group; ++h) {
    const std::int64_t head = static_cast<std::int64_t>(pair) * p.shape.group + h;
    const float* q = static_cast<const float*>(p.queries) + head * d;
    float dot = 0, norm = 0;
    for (int i = lane; i < d; i += 32) {
      const float other = p.lows && !zone ? static_cast<const float*>(p.lows)[at + i] : 0;
      const float product = row ? q[i] * row[i] : 0;
      dot += p.lows && !zone ? fmaxf(product, q[i] * other) : product;
      norm += q[i] * q[i];
    }
    for (int lanes = 1; lanes < 32; lanes *= 2) {
      dot += __shfl_xor_sync(~0u, dot, lanes);
      norm += __shfl_xor_sync(~0u, norm, lanes);
    }
    if (lane != 0) continue;
    if (zone)
      p.zone_logits[head * p.zone_capacity + r] = row ? dot * p.scale : -INFINITY;
    else
      p.logits[head * p.capacity + r] =
          dot * (p.lows ? 1.f : p.scale) + correction(p, pair, r, 0.5f * p.scale * p.scale * norm);
  }
}

template <class T>
void launch_mma(const EstimateParams& p, const LaunchConfig& config, int row_tiles, int tiles) {
  for_head_dim(p.shape.head_dim, [&]<int kDim>(std::integral_constant<int, kDim>) {
    if (p.lows)
      launch(config, estimate_mma<T, kDim, true>, p, row_tiles, tiles);
    else
      launch(config, estimate_mma<T, kDim, false>, p, row_tiles, tiles);
  });
}

}  // namespace

void estimate(const EstimateParams& p, cudaStream_t stream, bool overlap) {
  const int row_tiles = static_cast<int>((p.capacity + kTile - 1) / kTile);
  const int zone_tiles =
      p.zone_logits ? static_cast<int>((p.zone_capacity + kTile - 1) / kTile) : 0;
  const int tiles = row_tiles + zone_tiles;
  LaunchConfig config{dim3(1, p.shape.pairs), dim3(32 * kWarps), 0, stream, overlap};
  if (p.dtype == DType::kFp32) {
    config.grid.x = (tiles * kTile + kWarps - 1) / kWarps;
    return launch(config, estimate_simt, p, row_tiles);
  }
  // Measured at 64 pairs of 8192 clusters: 8 blocks a multiprocessor 70 us, 16: 60, 36: 56.5.
  const int most = std::max(1, 132 * 40 / p.shape.pairs);
  config.grid.x = std::min((tiles + kWarps - 1) / kWarps, most);
  if (p.dtype == DType::kFp16)
    launch_mma<__half>(p, config, row_tiles, tiles);
  else
    launch_mma<__nv_bfloat16>(p, config, row_tiles, tiles);
}

}  // namespace doublep::cuda
