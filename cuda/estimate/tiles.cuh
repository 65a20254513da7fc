// Tiles of 16 rows, what they are rows of, and where their products go: the same whichever way
// rows come to a kernel, and to the last bit, so that a choice of kernel moves no selection.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "cuda/common/types.h"
#include "cuda/estimate/estimate.h"

namespace doublep::cuda {

/// Slots of a zone: sinks first, then the tail.
struct ZoneSlots {
  int sink, tail, length;

  __device__ ZoneSlots(const EstimateParams& p, int pair) {
    const int b = pair / p.shape.kv_heads;
    sink = p.sink_end[b], tail = p.tail_begin[b], length = p.lengths[b];
  }
  /// Where a slot's key lies; -1 beyond the last one.
  __device__ int row(int slot) const {
    const int row = slot < sink ? slot : tail + slot - sink;
    return row < length ? row : -1;
  }
};

/// Tiles of a pair: clusters or pages, then the zone's tokens, then the value map's and the key
/// shape's.
struct Regions {
  int zone, map, shape, end;  ///< first tiles after the clusters'; the end of all

  enum Kind { kItems, kZone, kMap, kShape };
  __device__ Kind kind(int tile) const {
    return tile < zone ? kItems : tile < map ? kZone : tile < shape ? kMap : kShape;
  }
  /// First row of a tile within its region.
  __device__ int first(int tile) const {
    return (tile - (tile < zone ? 0 : tile < map ? zone : tile < shape ? map : shape)) * kTile;
  }
};

/// The matrix of a region of rows that are one, and where its products go.
__device__ inline const void* matrix_of(const EstimateParams& p, Regions::Kind kind) {
  return kind == Regions::kMap ? p.value_map : p.key_shape;
}
__device__ inline float* products_of(const EstimateParams& p, Regions::Kind kind) {
  return kind == Regions::kMap ? p.directions : p.shape_directions;
}

/// What lies on top of the scaled dot product, as far as this launch knows it. Operations are
/// spelled out, here and below, for compilers join a product and a sum as they like.
__device__ inline float correction(const EstimateParams& p, const ClusterMeta& meta, float spread) {
  const bool second_order = p.estimator == MassEstimate::kSecondOrder;
  return __fadd_rn(meta.log_size, second_order ? __fmul_rn(spread, meta.variance) : 0.f);
}

/// Products of a tile's rows as RowFragment::dot() leaves them: s[0], s[1] of row g and heads 2c,
/// 2c + 1, s[2], s[3] of row g + 8. `meta`, `present`: of both rows; `present` counts in the zone
/// alone. `spread`: of both heads, as correction() takes it. A row that is none may hold anything:
/// nothing comes of its products.
template <bool kPages>
__device__ inline void store_products(const EstimateParams& p, int pair, Regions::Kind kind,
                                      int first, int num_rows, const float (&s)[4],
                                      const ClusterMeta (&meta)[2], const bool (&present)[2],
                                      float2 spread) {
  const int g = threadIdx.x % 32 / 4, head = threadIdx.x % 4 * 2, group = p.shape.group;
  const bool items = kind == Regions::kItems, zone = kind == Regions::kZone;
  if (head >= group || (items && first >= num_rows)) return;
  const std::int64_t stride = items ? p.capacity : zone ? p.zone_capacity : p.shape.head_dim;
  float* to = items ? p.logits : zone ? p.zone_logits : products_of(p, kind);
  to += (static_cast<std::int64_t>(pair) * group + head) * stride + first + g;
#pragma unroll
  for (int i = 0; i < 2; ++i) {  // rows; the capacity and head_dim are multiples of 16
    const int r = first + g + 8 * i;
    if (zone && r >= stride) return;
    float2 v = {s[2 * i] * p.scale, s[2 * i + 1] * p.scale};
    if (items)
      v = {__fmaf_rn(s[2 * i], kPages ? 1.f : p.scale, correction(p, meta[i], spread.x)),
           __fmaf_rn(s[2 * i + 1], kPages ? 1.f : p.scale, correction(p, meta[i], spread.y))};
    if (items ? r >= num_rows : zone && !present[i]) v = {-INFINITY, -INFINITY};
    to[8 * i] = v.x;
    if (head + 1 < group) to[stride + 8 * i] = v.y;
  }
}

}  // namespace doublep::cuda
