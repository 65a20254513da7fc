// One warp's running attention state for 16-bit keys: up to eight query heads at once on the tensor
// cores, fragments loaded straight from where the rows lie.
#pragma once

#include <cmath>

#include "cuda/attend/attend.h"
#include "cuda/common/mma.cuh"
#include "cuda/estimate/estimate.h"

namespace doublep::cuda {

// 16 rows of work as an engine sees them, wherever they lie.

/// In global memory. kGather: slot r holds row ids[r], else row + r. Absent rows are null.
template <class T, int D, bool kGather>
struct GlobalRows {
  using Load = LoadOnce;
  using Stored = Plain16;
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
  using Stored = Plain16;
  const T *keys, *values;
  int count;
  std::uint32_t all;

  __device__ std::uint32_t mask(int r) const { return r < count ? all : 0; }
  __device__ const T* key(int r) const { return keys + r * D; }
  __device__ const T* value(int r) const { return r < count ? values + r * D : nullptr; }
};

/// Neighbouring rows of one block of a packed cache, in global or shared memory.
template <int D, class LoadFrom>
struct PackedBlockRows {
  using Load = LoadFrom;
  using Stored = PackedE4m3;
  const std::uint8_t *keys, *values;  ///< the first row's
  float2 steps;                       ///< what one stored key element stands for, and a value's
  std::uint32_t all;
  int count;

  __device__ std::uint32_t mask(int r) const { return r < count ? all : 0; }
  __device__ const std::uint8_t* key(int r) const { return r < count ? keys + r * D : nullptr; }
  __device__ const std::uint8_t* value(int r) const { return r < count ? values + r * D : nullptr; }
};

inline constexpr float kLog2e = 1.4426950408889634f;
inline constexpr float kLn2 = 0.6931471805599453f;

/// kPacks: some of the rows come as PackedBlockRows.
template <class T, int D, bool kPacks = false>
class MmaEngine {
 public:
  using Element = T;
  static constexpr bool kPacked = kPacks;
  static constexpr int kDim = D;
  static constexpr int kWarps = D > 128 ? 8 : 12;  // of a block, one block a multiprocessor

  /// tilt: scale^2 / 4 where terms move with the query, else 0; forms: scale^2 q'Sq of every head
  /// where it takes the place of scale^2 |q|^2.
  __device__ void begin(const T* queries, int group, float tilt = 0, const float* forms = nullptr) {
    group_ = group;
    q_.load(queries, group);
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
    using Stored = typename Rows::Stored;
    RowFragment<D, Stored> k;
    k.template load<typename Rows::Load>(bits<Rows>(rows.key(g)), bits<Rows>(rows.key(g + 8)));
    ValueFragment<D, Stored> v;
    if constexpr (D <= 128) load_values(v, rows);
    const std::uint32_t low = rows.mask(g), high = rows.mask(g + 8);
    float2 steps = {1, 1};
    if constexpr (Stored::kScaled) steps = rows.steps;
    float s[4] = {0, 0, 0, 0};
    k.dot(q_, s);
    if constexpr (D > 128) load_values(v, rows);  // both at once would not fit
#pragma unroll
    for (int i = 0; i < 4; ++i) s[i] *= scale2 * steps.x;
    accumulate(s, low, high, v, steps.y);
  }

  /// log_masses: of the pair's first head, stride between heads `stride`. meta: the pair's, where
  /// terms move with the query.
  template <class Rows>
  __device__ void terms(const Rows& rows, const float* log_masses, std::int64_t stride,
                        const ClusterMeta* meta) {
    const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
    ValueFragment<D> v;
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
    const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int lanes = 4; lanes < 32; lanes *= 2) sum_[i] += __shfl_xor_sync(~0u, sum_[i], lanes);
      const int head = 2 * c + i;
#pragma unroll
      for (int lanes = 4; directions && lanes < 32; lanes *= 2)
        shift_[i] += __shfl_xor_sync(~0u, shift_[i], lanes);
      if (head >= group_) continue;
      if (g == 0) state[head] = {max_[i], sum_[i]};
#pragma unroll
      for (int n = 0; n < OutputFragment<T, D>::kProducts; ++n) {
        const int dim = 64 * (n / 4) + 8 * g + 2 * (n % 4);
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
  template <class Rows>
  __device__ static const typename Rows::Stored::Element* bits(const void* row) {
    return static_cast<const typename Rows::Stored::Element*>(row);
  }
  template <class Rows>
  __device__ static void load_values(ValueFragment<D, typename Rows::Stored>& v, const Rows& rows) {
    const int c = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      v.template load<typename Rows::Load>(i,
                                           bits<Rows>(rows.value(2 * c + (i & 1) + 4 * (i & 2))));
  }

  /// s: logits in log2 units, laid out as RowFragment::dot leaves them; weights when it returns.
  /// `step`: what one element of v stands for.
  template <class Stored>
  __device__ void accumulate(float (&s)[4], std::uint32_t low, std::uint32_t high,
                             const ValueFragment<D, Stored>& v, float step = 1) {
    const int c = threadIdx.x % 4;
    float next[2], base[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int head = 2 * c + i;
      s[i] = (low >> head) & 1 ? s[i] : -INFINITY;
      s[i + 2] = (high >> head) & 1 ? s[i + 2] : -INFINITY;
      next[i] = fmaxf(max_[i], fmaxf(s[i], s[i + 2]));
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
    for (int i = 0; i < 4; ++i) s[i] = exp2f(s[i] - base[i & 1]);
    sum_[0] += s[0] + s[2], sum_[1] += s[1] + s[3];
    const float weights[4] = {s[0] * step, s[1] * step, s[2] * step, s[3] * step};
    out_.add(weights, v);
  }

  QueryFragment<T, D> q_;
  OutputFragment<T, D> out_;
  float max_[2], sum_[2];     // of heads 2c, 2c+1; sums are this lane's share
  float shift_[2], tilt_[2];  // sum of weights times how far their terms move; |q|^2 scale^2 / 4
  int group_;
};

}  // namespace doublep::cuda
