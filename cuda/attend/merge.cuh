// Partial attention merged with the rule of online softmax (arXiv 1805.02867): warps of a block in
// shared memory, blocks of a pair through global memory.
#pragma once

#include <cmath>

#include "cuda/attend/mma_engine.cuh"
#include "cuda/attend/shares.cuh"

namespace doublep::cuda {

/// What a partial result with running maximum `max` counts for in the merge.
__device__ inline float merge_weight(float max, float all_max) {
  return all_max == -INFINITY ? 0.f : exp2f(max - all_max);
}
__device__ inline void add_weighted(float4& o, float weight, const float4& v) {
  o.x += weight * v.x, o.y += weight * v.y, o.z += weight * v.z, o.w += weight * v.w;
}

/// The block's result for a pair so far: what each warp holds, in shared memory.
struct WarpResults {
  float2* states;  ///< [warps, state_stride]: maximum in log2 units, sum
  float* outputs;  ///< [warps, group, D]
  int state_stride;
};

/// Merges the warps: rolled up and not inlined, for every block runs through this code but once or
/// twice, and fetching it would cost more than it does. Into `slot` as a partial result, or where
/// that is null as the final one: output [group, D], log_sum_exp [group].
template <int D>
__device__ __noinline__ void merge_warps(int group, WarpResults r, float* slot, float* output,
                                         float* log_sum_exp) {
  const int warps = static_cast<int>(blockDim.x) / 32;
  for (int i = threadIdx.x; i < group * D / 4; i += static_cast<int>(blockDim.x)) {
    const int h = i / (D / 4);
    float max = -INFINITY, sum = 0;
#pragma unroll 4
    for (int w = 0; w < warps; ++w) max = fmaxf(max, r.states[w * r.state_stride + h].x);
    float4 o = {0, 0, 0, 0};
#pragma unroll 4
    for (int w = 0; w < warps; ++w) {
      const float2 state = r.states[w * r.state_stride + h];
      const float weight = merge_weight(state.x, max);
      sum += weight * state.y;
      add_weighted(o, weight, reinterpret_cast<const float4*>(r.outputs + w * group * D)[i]);
    }
    if (slot) {
      reinterpret_cast<float4*>(slot)[i] = o;
      if (i % (D / 4) == 0) reinterpret_cast<float2*>(slot + group * D)[h] = make_float2(max, sum);
      continue;
    }
    const float inverse = sum == 0 ? 0 : 1 / sum;
    o.x *= inverse, o.y *= inverse, o.z *= inverse, o.w *= inverse;
    reinterpret_cast<float4*>(output)[i] = o;
    if (i % (D / 4) == 0) log_sum_exp[h] = sum == 0 ? -INFINITY : (max + log2f(sum)) * kLn2;
  }
}

/// Leaves in shared memory, per warp, the merge of one of as many shares as there are warps of
/// `count` partial results, each read once. slot_of(i): the i-th.
template <int D, class SlotOf>
__device__ void gather_partials(int group, int count, const SlotOf& slot_of, const WarpResults& r) {
  constexpr int kAtOnce = 4;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warps = static_cast<int>(blockDim.x) / 32;
  const int pieces = group * D / 4;  // of 16 bytes
  for (int first = lane; first < pieces; first += 32 * kAtOnce) {
    float4 o[kAtOnce] = {};
    float max[kAtOnce], sum[kAtOnce] = {};
#pragma unroll
    for (float& m : max) m = -INFINITY;
#pragma unroll 2
    for (int i = warp; i < count; i += warps) {
      const float* slot = slot_of(i);
      float2 state[kAtOnce];
      float4 v[kAtOnce];
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        const int piece = min(first + 32 * k, pieces - 1);
        state[k] = __ldcg(reinterpret_cast<const float2*>(slot + group * D) + piece / (D / 4));
        v[k] = __ldcg(reinterpret_cast<const float4*>(slot) + piece);
      }
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        const float next = fmaxf(max[k], state[k].x);
        const float old = merge_weight(max[k], next), mine = merge_weight(state[k].x, next);
        max[k] = next, sum[k] = sum[k] * old + state[k].y * mine;
        o[k].x *= old, o[k].y *= old, o[k].z *= old, o[k].w *= old;
        add_weighted(o[k], mine, v[k]);
      }
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int piece = first + 32 * k;
      if (piece >= pieces) continue;
      reinterpret_cast<float4*>(r.outputs + warp * group * D)[piece] = o[k];
      if (piece % (D / 4) == 0)
        r.states[warp * r.state_stride + piece / (D / 4)] = make_float2(max[k], sum[k]);
    }
  }
}

/// A block is done with its tiles of a pair: merges its warps, and if it is the last of the pair's
/// blocks to get here, the blocks. All threads; `last` is a word of shared memory.
template <int D, WorkKind kKind>
__device__ void finish_pair(const AttendParams& p, const Shares<kKind>& shares, int pair,
                            const WarpResults& results, bool& last) {
  const int group = p.shape.group, block = blockIdx.x;
  const std::size_t slot_size = attend_slot(p.shape);
  float* output = p.output + static_cast<std::int64_t>(pair) * group * D;
  float* log_sum_exp = p.log_sum_exp + pair * group;
  const Span span = shares.span(pair);
  const bool whole = span.first == span.last;
  __syncthreads();
  merge_warps<D>(group, results, whole ? nullptr : p.partial + shares.slot(block, pair) * slot_size,
                 output, log_sum_exp);
  if (!whole) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last = atomicAdd(p.arrived + pair, 1) == span.last - span.first;
    __syncthreads();
    if (last) {
      __threadfence();
      gather_partials<D>(
          group, span.last - span.first + 1,
          [&](int i) { return p.partial + shares.slot(span.first + i, pair) * slot_size; },
          results);
      __syncthreads();
      merge_warps<D>(group, results, nullptr, output, log_sum_exp);
      if (threadIdx.x == 0) p.arrived[pair] = 0;
    }
  }
  __syncthreads();  // states and outputs are written again for the next pair
}

/// Pairs of which nothing was selected get zeros. `prefix`: as Shares filled it.
template <int D>
__device__ void clear_empty(const AttendParams& p, const std::int32_t* prefix) {
  const int group = p.shape.group, threads = static_cast<int>(blockDim.x);
#pragma unroll 1
  for (int pair = blockIdx.x; pair < p.shape.pairs; pair += gridDim.x) {
    if (prefix[pair + 1] > prefix[pair]) continue;
#pragma unroll 1
    for (int i = threadIdx.x; i < group * D; i += threads)
      p.output[static_cast<std::int64_t>(pair) * group * D + i] = 0;
    if (static_cast<int>(threadIdx.x) < group)
      p.log_sum_exp[pair * group + threadIdx.x] = -INFINITY;
  }
}

}  // namespace doublep::cuda
