#include <algorithm>
#include <cmath>

#include "cuda/common/launch.h"
#include "cuda/common/mma.cuh"
#include "cuda/common/types.h"
#include "cuda/estimate/bulk.h"
#include "cuda/estimate/estimate.h"
#include "cuda/estimate/pooled.cuh"
#include "cuda/estimate/tiles.cuh"

namespace doublep::cuda {
namespace {

constexpr int kWarps = 4;
constexpr std::int64_t kLittle = 48ll << 20;  // bytes: some 15 us of an H100's memory
constexpr std::int64_t kMuch = 16ll << 20;    // bytes: more than an H100 has under way by registers

std::int64_t row_bytes(const EstimateParams& p) {
  return p.shape.pairs * p.capacity * p.shape.head_dim * 2;
}

/// Pages have two rows each, of which the ring knows nothing.
bool by_ring(const EstimateParams& p) {
  if (p.lows || p.dtype == DType::kFp32 || p.path == EstimatePath::kRegisters) return false;
  return p.path == EstimatePath::kRing || row_bytes(p) >= kMuch;
}

/// Tiles that a warp has under way at once, as far as registers go.
template <int D, bool kPages>
inline constexpr int kAtOnce = kPages || D > 128 ? 1 : 2;

/// grid (shares of the tiles, pairs); a warp scores 16 rows at a time for all heads of the pair.
/// `ahead`: where there is so little to read that latency counts, rows are asked for before it is
/// known how many there are.
template <class T, int D, bool kPages>
__global__ void __launch_bounds__(32 * kWarps)
    estimate_mma(const __grid_constant__ EstimateParams p, Regions regions, bool ahead) {
  constexpr int kTiles = kAtOnce<D, kPages>;
  const int pair = blockIdx.y, g = threadIdx.x % 32 / 4;
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
  for (int base = warp * kTiles; base < regions.end; base += gridDim.x * kWarps * kTiles) {
    RowFragment<D> rows[kTiles], lows[kPages ? kTiles : 1];
    ClusterMeta meta[kTiles][2];
    bool present[kTiles][2];
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const int tile = base + t, first = regions.first(tile);
      const Regions::Kind kind = regions.kind(tile);
      const auto row = [&](const void* from, int r) -> Bits* {
        if (tile >= regions.end) return nullptr;
        if (kind >= Regions::kMap)
          return static_cast<Bits*>(matrix_of(p, kind)) +
                 (static_cast<std::int64_t>(pair) * D + first + r) * D;
        if (kind == Regions::kZone) {
          const int at = first + r < p.zone_capacity ? ZoneSlots(p, pair).row(first + r) : -1;
          return at < 0 ? nullptr : static_cast<Bits*>(p.keys) + (pair * p.key_capacity + at) * D;
        }
        if (ahead ? first + r >= p.capacity : first + r >= num_rows) return nullptr;
        return static_cast<Bits*>(from) + (pair * p.capacity + first + r) * D;
      };
      Bits *low = row(p.rows, g), *high = row(p.rows, g + 8);
      rows[t].load(low, high);
      if constexpr (kPages) lows[t].load(row(p.lows, g), row(p.lows, g + 8));
      present[t][0] = low, present[t][1] = high;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const bool summarised = p.meta && kind == Regions::kItems && (i == 0 ? low : high);
        meta[t][i] = summarised ? p.meta[pair * p.capacity + first + g + 8 * i] : ClusterMeta{0, 0};
      }
    }
    float2 spread = {0, 0};
    if (p.estimator == MassEstimate::kSecondOrder) {
      spread = q.squared_norms();
      spread.x *= 0.5f * p.scale * p.scale, spread.y *= 0.5f * p.scale * p.scale;
    }
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const int tile = base + t, first = regions.first(tile);
      const Regions::Kind kind = regions.kind(tile);
      float s[4] = {0, 0, 0, 0};
      if constexpr (kPages) {
        rows[t].dot(halves(Packed<T>::positive), s);
        lows[t].dot(halves(Packed<T>::negative), s);
      } else {
        rows[t].dot(q, s);
      }
      if (tile < regions.end)
        store_products<kPages>(p, pair, kind, first, num_rows, s, meta[t], present[t], spread);
    }
  }
}

/// float32: one warp a row and head.
__global__ void estimate_simt(const __grid_constant__ EstimateParams p, Regions regions) {
  const int pair = blockIdx.y, d = p.shape.head_dim, lane = threadIdx.x % 32;
  const int slot = blockIdx.x * kWarps + threadIdx.x / 32, tile = slot / kTile;
  dependency_release();
  dependency_wait();
  if (tile >= regions.end) return;
  const Regions::Kind kind = regions.kind(tile);
  const bool items = kind == Regions::kItems;
  const int r = regions.first(tile) + slot % kTile;
  const int count = kind >= Regions::kMap    ? d
                    : kind == Regions::kZone ? static_cast<int>(p.zone_capacity)
                                             : p.num_rows[pair];
  if (r >= (items ? (count + 3) / 4 * 4 : count)) return;
  const bool absent = r >= count;  // -infinity up to a multiple of 4
  const std::int64_t at = (pair * p.capacity + (absent ? 0 : r)) * d;
  const float* row = static_cast<const float*>(p.rows) + at;
  if (kind == Regions::kZone) {
    const int key = ZoneSlots(p, pair).row(r);
    row = key < 0 ? nullptr : static_cast<const float*>(p.keys) + (pair * p.key_capacity + key) * d;
  } else if (!items) {
    row = static_cast<const float*>(matrix_of(p, kind)) + (pair * d + r) * d;
  }
  const bool pages = p.lows && items;
  for (int h = 0; h < p.shape.group; ++h) {
    const std::int64_t head = static_cast<std::int64_t>(pair) * p.shape.group + h;
    const float* q = static_cast<const float*>(p.queries) + head * d;
    float dot = 0, norm = 0;
    for (int i = lane; i < d; i += 32) {
      const float other = pages ? static_cast<const float*>(p.lows)[at + i] : 0;
      const float product = row ? q[i] * row[i] : 0;
      dot += pages ? fmaxf(product, q[i] * other) : product;
      norm += q[i] * q[i];
    }
    for (int lanes = 1; lanes < 32; lanes *= 2) {
      dot += __shfl_xor_sync(~0u, dot, lanes);
      norm += __shfl_xor_sync(~0u, norm, lanes);
    }
    if (lane != 0) continue;
    if (kind >= Regions::kMap)
      products_of(p, kind)[head * d + r] = dot * p.scale;
    else if (kind == Regions::kZone)
      p.zone_logits[head * p.zone_capacity + r] = row ? dot * p.scale : -INFINITY;
    else
      p.logits[head * p.capacity + r] =
          absent ? -INFINITY
                 : dot * (p.lows ? 1.f : p.scale) +
                       correction(p, p.meta ? p.meta[pair * p.capacity + r] : ClusterMeta{0, 0},
                                  0.5f * p.scale * p.scale * norm);
  }
}

constexpr int kCorrectThreads = 256;

/// grid (stretches of 4 * kCorrectThreads items, heads).
__global__ void __launch_bounds__(kCorrectThreads)
    correct_kernel(const __grid_constant__ EstimateParams p,
                   const __grid_constant__ PooledEstimate pooled, float* masses) {
  const std::int64_t head = blockIdx.y, pair = head / p.shape.group;
  dependency_release();
  dependency_wait();
  const float form = unit_logit_variance(pooled, head, p.shape.head_dim);
  if (blockIdx.x == 0 && threadIdx.x == 0) pooled.forms[head] = form;
  const int i = 4 * static_cast<int>(blockIdx.x * kCorrectThreads + threadIdx.x);
  if (i >= p.num_rows[pair]) return;
  const float4 v = *reinterpret_cast<const float4*>(p.logits + head * p.capacity + i);
  const float4 a = reinterpret_cast<const float4*>(p.meta + pair * p.capacity + i)[0];
  const float4 b = reinterpret_cast<const float4*>(p.meta + pair * p.capacity + i)[1];
  *reinterpret_cast<float4*>(masses + head * p.capacity + i) = {
      pooled_mass(v.x, a.x, a.y, form), pooled_mass(v.y, a.z, a.w, form),
      pooled_mass(v.z, b.x, b.y, form), pooled_mass(v.w, b.z, b.w, form)};
}

template <class T>
void launch_mma(const EstimateParams& p, LaunchConfig config, const Regions& regions) {
  const bool ahead = !p.sparse && row_bytes(p) < kLittle;
  int device = 0, sms = 0;
  DP_CUDA(cudaGetDevice(&device));
  DP_CUDA(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, device));
  // Through registers, measured at 64 pairs of 8192 clusters: 8 blocks a multiprocessor 70 us, 16:
  // 60, 36: 56.5.
  const int most = std::max(1, sms * 40 / p.shape.pairs);
  for_head_dim(p.shape.head_dim, [&]<int kDim>(std::integral_constant<int, kDim>) {
    const auto run = [&](auto kernel, int at_once) {
      const int each = kWarps * at_once;
      config.grid.x = std::min((regions.end + each - 1) / each, most);
      launch(config, kernel, p, regions, ahead);
    };
    if (p.lows)
      run(estimate_mma<T, kDim, true>, kAtOnce<kDim, true>);
    else
      run(estimate_mma<T, kDim, false>, kAtOnce<kDim, false>);
  });
}

}  // namespace

void estimate(const EstimateParams& p, cudaStream_t stream, bool overlap) {
  const auto tiles = [](std::int64_t rows) { return static_cast<int>((rows + kTile - 1) / kTile); };
  Regions regions{tiles(p.capacity), 0, 0, 0};
  regions.map = regions.zone + (p.zone_logits ? tiles(p.zone_capacity) : 0);
  regions.shape = regions.map + (p.directions ? tiles(p.shape.head_dim) : 0);
  regions.end = regions.shape + (p.shape_directions ? tiles(p.shape.head_dim) : 0);
  if (by_ring(p) && bulk_estimate(p, regions, stream, overlap)) return;
  LaunchConfig config{dim3(1, p.shape.pairs), dim3(32 * kWarps), 0, stream, overlap};
  if (p.dtype == DType::kFp32) {
    config.grid.x = (regions.end * kTile + kWarps - 1) / kWarps;
    return launch(config, estimate_simt, p, regions);
  }
  if (p.dtype == DType::kFp16)
    launch_mma<__half>(p, config, regions);
  else
    launch_mma<__nv_bfloat16>(p, config, regions);
}

void correct(const EstimateParams& p, const PooledEstimate& pooled, float* masses,
             cudaStream_t stream, bool overlap) {
  const auto blocks =
      static_cast<unsigned>((p.capacity + 4 * kCorrectThreads - 1) / (4 * kCorrectThreads));
  launch({dim3(blocks, p.shape.pairs * p.shape.group), dim3(kCorrectThreads), 0, stream, overlap},
         correct_kernel, p, pooled, masses);
}

}  // namespace doublep::cuda
