// One warp's running attention state for 16-bit keys: up to eight query heads at once on the tensor
// cores, fragments loaded straight from where the rows lie.
#pragma once

#include <cmath>
#include <type_traits>

#include "cuda/attend/attend.h"
#include "cuda/attend/e4m3.cuh"
#include "cuda/estimate/estimate.h"

namespace doublep::cuda {

// 16 rows of work as an engine sees them, wherever they lie.

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

/// Neighbouring rows of one block of a packed cache. kAll: as many as are asked for, in shared
/// memory.
template <int D, bool kAllThere = false>
struct PackedBlockRows {
  using Load = std::conditional_t<kAllThere, LoadShared, LoadOnce>;
  static constexpr bool kAll = kAllThere;
  const std::uint8_t *keys, *values;  ///< the first row's
  float2 steps;                       ///< what one stored key element stands for, and a value's
  std::uint32_t all;
  int count;

  __device__ bool has(int r) const { return kAll || r < count; }
  __device__ std::uint32_t mask(int r) const { return has(r) ? all : 0; }
  __device__ const std::uint8_t* key(int r) const { return has(r) ? keys + r * D : nullptr; }
  __device__ const std::uint8_t* value(int r) const { return has(r) ? values + r * D : nullptr; }
};

inline constexpr float kLog2e = 1.4426950408889634f;
inline constexpr float kLn2 = 0.6931471805599453f;

/// What an engine without packed rows holds of them.
struct Nothing {};

/// kPacks: some of the rows come as PackedBlockRows.
template <class T, int D, bool kPacks = false>
class MmaEngine {
 public:
  using Element = T;
  static constexpr bool kPacked = kPacks;
  static constexpr int kDim = D;
  static constexpr int kWarps = D > 128 ? 8 : 12;  // of a block, one block a multiprocessor
  static constexpr bool kWide = kPacks && D % 128 == 0;
  /// Weights are up to 2^kLift: fp16 has the small ones then.
  static constexpr float kLift = kPacks ? 14 : 0;

  /// tilt: scale^2 / 4 where terms move with the query, else 0; forms: scale^2 q'Sq of every head
  /// where it takes the place of scale^2 |q|^2.
  __device__ void begin(const T* queries, int group, float tilt = 0, const float* forms = nullptr) {
    group_ = group;
    q_.load(queries, group);
    if constexpr (kPacks) packed_q_.load(queries, group);
    out_.clear();
    max_[0] = max_[1] = -INFINITY, sum_[0] = sum_[1] = 0;
    shift_[0] = shift_[1] = 0;
    if (forms) {
      const int c = threadIdx.x % 4;
#pragma unroll
      for (int i = 0; i < 2; ++i) tilt_[i] = 2 * c + i < group ? 0.25f * forms[2 * c + i] : 0;
    } else if (tilt > 0) {
      const float2 norms = q_.squared_norms();
      tilt_[0] = norms.x * tilt, tilt_[1] = norms.y * tilt;
    }
  }

  template <class Rows>
  __device__ void exact(const Rows& rows, float scale2) {
    const int g = threadIdx.x % 32 / 4;
    RowFragment<D> k;
    k.template load<typename Rows::Load>(bits(rows.key(g)), bits(rows.key(g + 8)));
    ValueFragment<D, kWide> v;
    if constexpr (D <= 128) load_values(v, rows);
    const std::uint32_t low = rows.mask(g), high = rows.mask(g + 8);
    float s[4] = {0, 0, 0, 0};
    k.dot(q_, s);
    if constexpr (D > 128) load_values(v, rows);  // both at once would not fit
#pragma unroll
    for (int i = 0; i < 4; ++i) s[i] *= scale2;
    accumulate(s, low, high, v);
  }

  /// Packed rows, up to kTiles times 16 of them: a maximum for all, where two tiles fit registers.
  template <int kTiles, class Rows>
  __device__ void packed(const Rows& rows, float scale2) {
    using Load = typename Rows::Load;
    const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
    PackedRowFragment<D> k[kTiles];
    PackedValueFragment<D, kWide> v[kTiles];
    const auto load_values = [&](int tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        v[tile].template load<Load, Rows::kAll>(
            i, rows.value(16 * tile + 2 * c + (i & 1) + 4 * (i & 2)));
    };
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      k[tile].template load<Load, Rows::kAll>(rows.key(16 * tile + g), rows.key(16 * tile + g + 8));
      if constexpr (D <= 128) load_values(tile);
    }
    float s[kTiles][4];
    const float scale = scale2 * rows.steps.x;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      k[tile].dot(packed_q_, s[tile]);
      if constexpr (D > 128) load_values(tile);  // both at once would not fit
#pragma unroll
      for (int i = 0; i < 4; ++i) s[tile][i] *= scale * packed_q_.unit[i & 1];
      hide(s[tile], rows.mask(16 * tile + g), rows.mask(16 * tile + g + 8));
    }
    weigh(s);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) add_packed(out_, s[tile], v[tile], rows.steps.y);
  }

  /// log_masses: of the pair's first head, stride between heads `stride`. meta: the pair's, where
  /// terms move with the query.
  template <class Rows>
  __device__ void terms(const Rows& rows, const float* log_masses, std::int64_t stride,
                        const ClusterMeta* meta) {
    const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
    ValueFragment<D, kWide> v;
    load_values(v, rows);
    const std::uint32_t low = rows.mask(g), high = rows.mask(g + 8);
    // All that a tile needs is asked for before any of it is used.
    float s[4], u[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int head = 2 * c + (i & 1);
      const bool on = (((i < 2 ? low : high) >> head) & 1) != 0;
      s[i] = on ? log_masses[head * stride + rows.id(i < 2 ? g : g + 8)] * kLog2e : 0;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i)
      if (meta && g + 8 * i < rows.count) u[i] = meta[rows.id(g + 8 * i)].variance;
    accumulate(s, low, high, v);
    if (!meta) return;
#pragma unroll
    for (int i = 0; i < 4; ++i)  // s are weights by now
      shift_[i & 1] += __fdividef(s[i] * u[i / 2], 1 + u[i / 2] * tilt_[i & 1]);
  }

  /// output: [group, D] in shared memory; state: [group] (max in log2 units, sum). directions: of
  /// the pair, [group, D], where terms move with the query.
  __device__ void store(float* output, float2* state, const float* directions = nullptr) {
    const int c = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int lanes = 4; lanes < 32; lanes *= 2) sum_[i] += __shfl_xor_sync(~0u, sum_[i], lanes);
      const int head = 2 * c + i;
#pragma unroll
      for (int lanes = 4; directions && lanes < 32; lanes *= 2)
        shift_[i] += __shfl_xor_sync(~0u, shift_[i], lanes);
      if (head >= group_) continue;
      if (threadIdx.x % 32 < 4) state[head] = {max_[i] - kLift, sum_[i]};
#pragma unroll
      for (int n = 0; n < OutputFragment<T, D>::kProducts; ++n) {
        const int dim = out_.dim(n);
        if (D % 64 != 0 && dim >= D) continue;
        float2 o = {out_.o[n][i], out_.o[n][i + 2]};
        if (directions) {
          const float2 d = *reinterpret_cast<const float2*>(directions + head * D + dim);
          o.x += shift_[i] * d.x, o.y += shift_[i] * d.y;
        }
        *reinterpret_cast<float2*>(output + head * D + dim) = o;
      }
    }
  }

 private:
  __device__ static const std::uint16_t* bits(const void* row) {
    return static_cast<const std::uint16_t*>(row);
  }
  template <class Rows>
  __device__ static void load_values(ValueFragment<D, kWide>& v, const Rows& rows) {
    const int c = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      v.template load<typename Rows::Load>(i, bits(rows.value(2 * c + (i & 1) + 4 * (i & 2))));
  }

  /// Logits, laid out as RowFragment::dot leaves them, of heads that do not attend a row.
  __device__ static void hide(float (&s)[4], std::uint32_t low, std::uint32_t high) {
    const int c = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      s[i] = ((i < 2 ? low : high) >> (2 * c + (i & 1))) & 1 ? s[i] : -INFINITY;
  }
  /// 2^v; what is below the smallest normal number is zero.
  __device__ static float power_of_two(float v) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(v));
    return power;
  }
  /// s: logits in log2 units; weights when it returns.
  template <int kTiles>
  __device__ void weigh(float (&s)[kTiles][4]) {
    float next[2], base[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      next[i] = max_[i];
#pragma unroll
      for (const auto& tile : s) next[i] = fmaxf(next[i], fmaxf(tile[i], tile[i + 2]));
#pragma unroll
      for (int lanes = 4; lanes < 32; lanes *= 2)
        next[i] = fmaxf(next[i], __shfl_xor_sync(~0u, next[i], lanes));
      base[i] = next[i] == -INFINITY ? 0 : next[i];
    }
    if (__any_sync(~0u, next[0] > max_[0] || next[1] > max_[1])) {
      const float even = exp2f(max_[0] - base[0]), odd = exp2f(max_[1] - base[1]);
      out_.scale(even, odd);
      sum_[0] *= even, sum_[1] *= odd, shift_[0] *= even, shift_[1] *= odd;
      max_[0] = next[0], max_[1] = next[1];
    }
#pragma unroll
    for (auto& tile : s) {
#pragma unroll
      for (int i = 0; i < 4; ++i) tile[i] = power_of_two(tile[i] - (base[i & 1] - kLift));
      sum_[0] += tile[0] + tile[2], sum_[1] += tile[1] + tile[3];
    }
  }
  /// s: logits in log2 units, laid out as RowFragment::dot leaves them; weights when it returns.
  __device__ void accumulate(float (&s)[4], std::uint32_t low, std::uint32_t high,
                             const ValueFragment<D, kWide>& v) {
    hide(s, low, high);
    float tiles[1][4] = {{s[0], s[1], s[2], s[3]}};
    weigh(tiles);
#pragma unroll
    for (int i = 0; i < 4; ++i) s[i] = tiles[0][i];
    out_.add(s, v);
  }

  QueryFragment<T, D> q_;
  [[no_unique_address]] std::conditional_t<kPacks, PackedQueryFragment<T, D>, Nothing> packed_q_;
  OutputFragment<T, D, kWide> out_;
  float max_[2], sum_[2];     // of heads 2c, 2c+1; sums are this lane's share
  float shift_[2], tilt_[2];  // sum of weights times how far their terms move; |q|^2 scale^2 / 4
  int group_;
};

}  // namespace doublep::cuda
