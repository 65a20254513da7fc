// The pooled estimate of a cluster's mass on the device: core/index/mass_estimate.h.
#pragma once

#include <cmath>

#include "cuda/common/mma.cuh"
#include "cuda/estimate/estimate.h"

namespace doublep::cuda {

/// scale^2 q'Sq of a query head, in two halves: all loads, which are under way at once, and the
/// sum; one warp, the result in all lanes.
class UnitLogitVariance {
 public:
  __device__ void load(const PooledEstimate& p, std::int64_t head, int d) {
    const int lane = threadIdx.x % 32;
    const float* direction = p.directions + head * d;
    const auto* words = static_cast<const std::uint32_t*>(p.queries) + head * d;
    const auto* halves = static_cast<const std::uint16_t*>(p.queries) + head * d;
#pragma unroll
    for (int k = 0; k < kMost; ++k) {
      const int i = lane + 32 * k;
      bits_[k] = 0, along_[k] = 0;
      if (i < d)
        bits_[k] = p.dtype == DType::kFp32 ? words[i] : halves[i], along_[k] = direction[i];
    }
  }
  /// Rounding may take the form of a covariance a hair below zero.
  __device__ float sum(const PooledEstimate& p) const {
    const bool wide = p.dtype == DType::kFp32, bf16 = p.dtype == DType::kBf16;
    float sum = 0;
#pragma unroll
    for (int k = 0; k < kMost; ++k) {
      const float half = __half2float(__ushort_as_half(static_cast<std::uint16_t>(bits_[k])));
      const float full = __uint_as_float(bf16 ? bits_[k] << 16 : bits_[k]);
      sum += (wide || bf16 ? full : half) * along_[k];
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
    return fmaxf(sum * p.scale, 0.f);
  }

 private:
  static constexpr int kMost = 8;  // of a lane: head_dim up to 256
  std::uint32_t bits_[kMost];
  float along_[kMost];
};
__device__ inline float unit_logit_variance(const PooledEstimate& p, std::int64_t head, int d) {
  UnitLogitVariance form;
  form.load(p, head, d);
  return form.sum(p);
}

/// To the last bit but one, without the code that the last one takes.
__device__ inline float quick_sqrt(float v) {
  float root;
  asm("sqrt.approx.f32 %0, %1;" : "=f"(root) : "f"(v));
  return root;
}

/// log of the mean of exp over as many draws of a centred Gaussian as a cluster has members, as
/// core's log_mean_weight has it.
__device__ inline float log_mean_weight(float variance, float log_size) {
  const float limit = fmaxf(log_size, 0.f);
  if (variance <= 2 * limit) return 0.5f * variance;  // most clusters, all of a warp's
  return quick_sqrt(2 * variance * limit) - limit;
}

/// A log mass from a logit; -infinity stays.
__device__ inline float pooled_mass(float logit, float log_size, float variance, float form) {
  return logit == -INFINITY ? logit : logit + log_mean_weight(variance * form, log_size);
}

}  // namespace doublep::cuda
