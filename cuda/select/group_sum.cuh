// One ranking for a whole group: the sum of its members' probabilities.
#pragma once

#include "cuda/select/select.h"
#include "cuda/select/threshold_search.cuh"

namespace doublep::cuda {

/// RetroInfer's ranking leaves the cluster's size out of the softmax.
__device__ inline float4 ranked_values(const SelectParams& p, const float* logits,
                                       const ClusterMeta* meta, int i) {
  float4 v = *reinterpret_cast<const float4*>(logits + i);
  if (!meta) return v;
  const float4 a = reinterpret_cast<const float4*>(meta + i)[0];
  const float4 b = reinterpret_cast<const float4*>(meta + i)[1];
  v.x = v.x == -INFINITY ? v.x : v.x - a.x, v.y = v.y == -INFINITY ? v.y : v.y - a.z;
  v.z = v.z == -INFINITY ? v.z : v.z - b.x, v.w = v.w == -INFINITY ? v.w : v.w - b.z;
  return v;
}

/// First half, a block per head: what its probabilities are relative to.
__device__ __noinline__ inline void head_stats(const SelectParams& p, int pair, int row, int n,
                                               SearchShared& s) {
  const float* logits = p.logits + static_cast<std::int64_t>(row) * p.capacity;
  const ClusterMeta* meta = p.rank_without_size ? p.meta + pair * p.capacity : nullptr;
  const float* zone =
      p.zone_logits ? p.zone_logits + static_cast<std::int64_t>(row) * p.zone_capacity : nullptr;
  const auto component = [](const float4& v, int j) {
    return j == 0 ? v.x : j == 1 ? v.y : j == 2 ? v.z : v.w;
  };
  float max = -INFINITY;
#pragma unroll 2
  for (int i = 4 * threadIdx.x; i < n; i += 4 * block_threads()) {
    const float4 v = ranked_values(p, logits, meta, i);
#pragma unroll
    for (int j = 0; j < 4; ++j) max = fmaxf(max, component(v, j));
  }
  for (int i = threadIdx.x; zone && i < p.zone_capacity; i += block_threads())
    max = fmaxf(max, zone[i]);
  max = BlockOps::max(max, reinterpret_cast<float*>(s.scratch));
  if (max == -INFINITY) max = 0;
  float sum = 0;
#pragma unroll 2
  for (int i = 4 * threadIdx.x; i < n; i += 4 * block_threads()) {
    const float4 v = ranked_values(p, logits, meta, i);
#pragma unroll
    for (int j = 0; j < 4; ++j) sum += __expf(component(v, j) - max);
  }
  double held = 0;
  for (int i = threadIdx.x; zone && i < p.zone_capacity; i += block_threads())
    held += expf(zone[i] - max);
  auto* sums = reinterpret_cast<double*>(s.scratch);
  if (zone) held = BlockOps::sum(held, sums);
  const double total = BlockOps::sum(static_cast<double>(sum), sums) + held;
  if (threadIdx.x == 0)
    p.head_stats[row] = {max, total > 0 ? static_cast<float>(1 / total) : 0.f,
                         total > 0 ? static_cast<float>(held / total) : 0.f, 0.f};
}

/// Second half, one block per pair: log of the summed probability of every item into group_logits.
/// Returns the zone's summed share.
__device__ __noinline__ inline double sum_over_group(const SelectParams& p, int pair, int n) {
  const int group = p.shape.group;
  const float* logits = p.logits + static_cast<std::int64_t>(pair) * group * p.capacity;
  const ClusterMeta* meta = p.rank_without_size ? p.meta + pair * p.capacity : nullptr;
  float* out = p.group_logits + pair * p.capacity;
  float4 stats[kMaxGroup];
  double zone_share = 0;
#pragma unroll
  for (int h = 0; h < kMaxGroup; ++h) {
    stats[h] = h < group ? __ldcg(p.head_stats + pair * group + h) : make_float4(0, 0, 0, 0);
    zone_share += stats[h].z;
  }
  for (int i = 4 * threadIdx.x; i < n; i += 4 * block_threads()) {
    float4 sum = {0, 0, 0, 0};
    float4 first = {0, 0, 0, 0};
#pragma unroll
    for (int h = 0; h < kMaxGroup; ++h) {
      if (h >= group) continue;
      const float4 v = ranked_values(p, logits + h * p.capacity, meta, i);
      if (h == 0) first = v;
      sum.x += __expf(v.x - stats[h].x) * stats[h].y,
          sum.y += __expf(v.y - stats[h].x) * stats[h].y;
      sum.z += __expf(v.z - stats[h].x) * stats[h].y,
          sum.w += __expf(v.w - stats[h].x) * stats[h].y;
    }
    // An item without members stays out; one whose mass underflowed is still an item.
    const auto log_of = [](float mass, float value) {
      return value == -INFINITY ? -INFINITY : logf(fmaxf(mass, 1e-38f));
    };
    *reinterpret_cast<float4*>(out + i) = {log_of(sum.x, first.x), log_of(sum.y, first.y),
                                           log_of(sum.z, first.z), log_of(sum.w, first.w)};
  }
  __syncthreads();
  return zone_share;
}

}  // namespace doublep::cuda
