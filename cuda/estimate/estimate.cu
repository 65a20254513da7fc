#include <algorithm>
#include <cmath>

#include "cuda/common/dispatch.h"
#include "cuda/common/launch.h"
#include "cuda/common/mma.cuh"
#include "cuda/estimate/estimate.h"

namespace doublep::cuda {
namespace {

constexpr int kWarps = 4;
constexpr std::int64_t kLittle = 48ll << 20;  // bytes: some 15 us of an H100's memory

/// Where a zone slot's key lies: sinks first, then the tail; null beyond.
__device__ const void* zone_row(const EstimateParams& p, int pair, int slot, int bytes) {
  const int b = pair / p.shape.kv_heads;
  const int sink = p.sink_end[b], row = slot < sink ? slot : p.tail_begin[b] + slot - sink;
  if (row >= p.lengths[b]) return nullptr;
  return static_cast<const char*>(p.keys) +
         (pair * p.key_capacity + row) * p.shape.head_dim * bytes;
}

/// What lies on top of the scaled dot product.
__device__ float correction(const EstimateParams& p, const ClusterMeta& meta, float spread) {
  return meta.log_size + (p.second_order ? spread * meta.variance : 0.f);
}

/// Tiles that a warp has under way at once, as far as registers go.
template <int D, bool kPages>
inline constexpr int kAtOnce = kPages || D > 128 ? 1 : 2;

/// grid (shares of the tiles, pairs); a warp scores 16 rows at a time for all heads of the pair.
/// `ahead`: where there is so little to read that latency counts, rows are asked for before it is
/// known how many there are.
template <class T, int D, bool kPages>
__global__ void __launch_bounds__(32 * kWarps)
    estimate_mma(const __grid_constant__ EstimateParams p, int row_tiles, int tiles, bool ahead) {
  constexpr int kTiles = kAtOnce<D, kPages>;
  const int pair = blockIdx.y, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
  const int group = p.shape.group, warp = blockIdx.x * kWarps + threadIdx.x / 32;
  dependency_release();
  dependency_wait();
  const int num_rows = p.num_rows[pair];
  QueryFragment<T, D> q;
  q.load(static_cast<const T*>(p.queries) + static_cast<std::int64_t>(pair) * group * D, group);
  const auto halves = [&](auto half) {
    QueryFragment<T, D> out = q;
#pragma unroll
    for (auto& v : out.chunk) v = {half(v.x), half(v.y), half(v.z), half(v.w)};
    return out;
  };
  using Bits = const std::uint16_t;
  for (int base = warp * kTiles; base < tiles; base += gridDim.x * kWarps * kTiles) {
    RowFragment<D> rows[kTiles], lows[kPages ? kTiles : 1];
    ClusterMeta meta[kTiles][2];
    bool present[kTiles][2];
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const int tile = base + t, first = (tile < row_tiles ? tile : tile - row_tiles) * kTile;
      const bool zone = tile >= row_tiles;
      const auto row = [&](const void* from, int r) -> Bits* {
        if (tile >= tiles) return nullptr;
        if (zone)
          return first + r < p.zone_capacity ? static_cast<Bits*>(zone_row(p, pair, first + r, 2))
                                             : nullptr;
        if (ahead ? first + r >= p.capacity : first + r >= num_rows) return nullptr;
        return static_cast<Bits*>(from) + (pair * p.capacity + first + r) * D;
      };
      Bits *low = row(p.rows, g), *high = row(p.rows, g + 8);
      rows[t].load(low, high);
      if constexpr (kPages) lows[t].load(row(p.lows, g), row(p.lows, g + 8));
      present[t][0] = low, present[t][1] = high;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const bool summarised = p.meta && !zone && (i == 0 ? low : high);
        meta[t][i] = summarised ? p.meta[pair * p.capacity + first + g + 8 * i] : ClusterMeta{0, 0};
      }
    }
    float2 spread = {0, 0};
    if (p.second_order) {
      spread = q.squared_norms();
      spread.x *= 0.5f * p.scale * p.scale, spread.y *= 0.5f * p.scale * p.scale;
    }
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const int tile = base + t;
      const bool zone = tile >= row_tiles;
      const int first = (zone ? tile - row_tiles : tile) * kTile;
      const int count = zone ? static_cast<int>(p.zone_capacity) : num_rows;
      float s[4] = {0, 0, 0, 0};
      if constexpr (kPages) {
        rows[t].dot(halves(Packed<T>::positive), s);
        lows[t].dot(halves(Packed<T>::negative), s);
      } else {
        rows[t].dot(q, s);
      }
      if (tile >= tiles || first >= count) continue;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int head = 2 * c + (i & 1), r = first + (i < 2 ? g : g + 8);
        if (head >= group || (zone && r >= count)) continue;
        const std::int64_t out = static_cast<std::int64_t>(pair) * group + head;
        if (zone)
          p.zone_logits[out * p.zone_capacity + r] = present[t][i / 2] ? s[i] * p.scale : -INFINITY;
        else  // the capacity is a multiple of 16
          p.logits[out * p.capacity + r] =
              r < count ? s[i] * (kPages ? 1.f : p.scale) +
                              correction(p, meta[t][i / 2], i & 1 ? spread.y : spread.x)
                        : -INFINITY;
      }
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
          absent ? -INFINITY
                 : dot * (p.lows ? 1.f : p.scale) +
                       correction(p, p.meta ? p.meta[pair * p.capacity + r] : ClusterMeta{0, 0},
                                  0.5f * p.scale * p.scale * norm);
  }
}

template <class T>
void launch_mma(const EstimateParams& p, LaunchConfig config, int row_tiles, int tiles) {
  const bool ahead = p.shape.pairs * p.capacity * p.shape.head_dim * 2 < kLittle;
  // Measured at 64 pairs of 8192 clusters: 8 blocks a multiprocessor 70 us, 16: 60, 36: 56.5.
  const int most = std::max(1, 132 * 40 / p.shape.pairs);
  for_head_dim(p.shape.head_dim, [&]<int kDim>(std::integral_constant<int, kDim>) {
    const auto run = [&](auto kernel, int at_once) {
      const int each = kWarps * at_once;
      config.grid.x = std::min((tiles + each - 1) / each, most);
      launch(config, kernel, p, row_tiles, tiles, ahead);
    };
    if (p.lows)
      run(estimate_mma<T, kDim, true>, kAtOnce<kDim, true>);
    else
      run(estimate_mma<T, kDim, false>, kAtOnce<kDim, false>);
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
  if (p.dtype == DType::kFp16)
    launch_mma<__half>(p, config, row_tiles, tiles);
  else
    launch_mma<__nv_bfloat16>(p, config, row_tiles, tiles);
}

}  // namespace doublep::cuda
