// The same running state for float32 keys on the ordinary units: a lane holds every 32nd dimension.
// For parity in full precision; 16-bit caches never come here.
#pragma once

#include "cuda/attend/mma_engine.cuh"

namespace doublep::cuda {

template <int D>
class SimtEngine {
 public:
  using Element = float;
  static constexpr bool kPacked = false;
  static constexpr int kDim = D, kPerLane = (D + 31) / 32;
  static constexpr int kWarps = 8;

  __device__ void begin(const float* queries, int group, float tilt = 0,
                        const float* forms = nullptr) {
    queries_ = queries, group_ = group;
#pragma unroll
    for (int h = 0; h < kMaxGroup; ++h) {
      max_[h] = -INFINITY, sum_[h] = shift_[h] = tilt_[h] = 0;
      if (forms && h < group) {
        tilt_[h] = 0.25f * forms[h];
      } else if (tilt > 0 && h < group) {
        for (int i = 0; i < D; ++i) tilt_[h] += queries[h * D + i] * queries[h * D + i];
        tilt_[h] *= tilt;
      }
#pragma unroll
      for (int i = 0; i < kPerLane; ++i) out_[h][i] = 0;
    }
  }

  template <class Rows>
  __device__ void exact(const Rows& rows, float scale2) {
    for (int r = 0; r < rows.count; ++r) {
      const float* key = rows.key(r);
      const std::uint32_t mask = rows.mask(r);
#pragma unroll
      for (int h = 0; h < kMaxGroup; ++h) {
        if (!((mask >> h) & 1) || h >= group_) continue;
        float dot = 0;
#pragma unroll
        for (int i = 0; i < kPerLane; ++i)
          if (inside(i)) dot += queries_[h * D + dim(i)] * key[dim(i)];
#pragma unroll
        for (int lanes = 1; lanes < 32; lanes *= 2) dot += __shfl_xor_sync(~0u, dot, lanes);
        add(h, dot * scale2, rows.value(r));
      }
    }
  }

  template <class Rows>
  __device__ void terms(const Rows& rows, const float* log_masses, std::int64_t stride,
                        const ClusterMeta* meta) {
    for (int r = 0; r < rows.count; ++r) {
      const std::uint32_t mask = rows.mask(r);
      const float u = meta ? meta[rows.id(r)].variance : 0;
#pragma unroll
      for (int h = 0; h < kMaxGroup; ++h)
        if (((mask >> h) & 1) && h < group_)
          add(h, log_masses[h * stride + rows.id(r)] * kLog2e, rows.value(r), u);
    }
  }

  __device__ void store(float* output, float2* state, const float* directions = nullptr) {
#pragma unroll
    for (int h = 0; h < kMaxGroup; ++h) {
      if (h >= group_) continue;
      if (threadIdx.x % 32 == 0) state[h] = {max_[h], sum_[h]};
#pragma unroll
      for (int i = 0; i < kPerLane; ++i)
        if (inside(i))
          output[h * D + dim(i)] =
              out_[h][i] + (directions ? shift_[h] * directions[h * D + dim(i)] : 0);
    }
  }

 private:
  __device__ static int dim(int i) { return 32 * i + threadIdx.x % 32; }
  __device__ static bool inside(int i) { return D % 32 == 0 || dim(i) < D; }
  __device__ void add(int h, float s, const float* value, float u = 0) {
    const float next = fmaxf(max_[h], s), base = next == -INFINITY ? 0 : next;
    const float factor = exp2f(max_[h] - base), p = exp2f(s - base);
    max_[h] = next, sum_[h] = sum_[h] * factor + p;
    shift_[h] = shift_[h] * factor + p * u / (1 + u * tilt_[h]);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i)
      if (inside(i)) out_[h][i] = out_[h][i] * factor + p * value[dim(i)];
  }

  const float* queries_;
  int group_;
  float max_[kMaxGroup], sum_[kMaxGroup], shift_[kMaxGroup], tilt_[kMaxGroup],
      out_[kMaxGroup][kPerLane];
};

}  // namespace doublep::cuda
