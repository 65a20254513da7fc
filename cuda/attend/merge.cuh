// Partial attention merged with the rule of online softmax (arXiv 1805.02867): warps of a block in
// shared memory, blocks of a pair through global memory.
#pragma once

#include <cmath>
#include <cstdint>

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

/// What a word of a partial result holds until it is written: what arithmetic makes of no number is
/// 0x7FFFFFFF. So every word says by itself whether it has come, and its writer needs no fence.
inline constexpr std::uint32_t kUnwritten = 0xFFFFFFFF;

__device__ inline bool absent(float v) { return __float_as_uint(v) == kUnwritten; }
__device__ inline bool absent(const float2& v) { return absent(v.x) || absent(v.y); }
__device__ inline bool absent(const float4& v) {
  return absent(v.x) || absent(v.y) || absent(v.z) || absent(v.w);
}
/// Words that another block may be writing.
__device__ inline void load_now(float2& v, const float* p) {
  asm volatile("ld.relaxed.gpu.global.v2.f32 {%0,%1}, [%2];"
               : "=f"(v.x), "=f"(v.y)
               : "l"(p)
               : "memory");
}
__device__ inline void load_now(float4& v, const float* p) {
  asm volatile("ld.relaxed.gpu.global.v4.f32 {%0,%1,%2,%3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "l"(p)
               : "memory");
}
__device__ inline void store_now(float* p, const float2& v) {
  asm volatile("st.relaxed.gpu.global.v2.f32 [%0], {%1,%2};" ::"l"(p), "f"(v.x), "f"(v.y)
               : "memory");
}
__device__ inline void store_now(float* p, const float4& v) {
  asm volatile("st.relaxed.gpu.global.v4.f32 [%0], {%1,%2,%3,%4};" ::"l"(p), "f"(v.x), "f"(v.y),
               "f"(v.z), "f"(v.w)
               : "memory");
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
      store_now(slot + 4 * i, o);
      if (i % (D / 4) == 0) store_now(slot + group * D + 2 * h, make_float2(max, sum));
      continue;
    }
    const float inverse = sum == 0 ? 0 : 1 / sum;
    o.x *= inverse, o.y *= inverse, o.z *= inverse, o.w *= inverse;
    reinterpret_cast<float4*>(output)[i] = o;
    if (i % (D / 4) == 0) log_sum_exp[h] = sum == 0 ? -INFINITY : (max + log2f(sum)) * kLn2;
  }
}

/// Leaves in shared memory, per warp, the merge of one of as many shares as there are warps of
/// `count` partial results, each read once, and waited for where it is on its way still.
/// slot_of(i): the i-th.
template <int D, class SlotOf>
__device__ void gather_partials(int group, int count, const SlotOf& slot_of, const WarpResults& r) {
  constexpr int kAtOnce = 4, kSlots = 3;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warps = static_cast<int>(blockDim.x) / 32;
  const int pieces = group * D / 4;  // of 16 bytes
#pragma unroll 1
  for (int first = lane; first < pieces; first += 32 * kAtOnce) {
    float4 o[kAtOnce] = {};
    float max[kAtOnce], sum[kAtOnce] = {};
#pragma unroll
    for (float& m : max) m = -INFINITY;
#pragma unroll 1
    for (int i = warp; i < count; i += kSlots * warps) {
      float2 state[kSlots][kAtOnce];
      float4 v[kSlots][kAtOnce];
      bool missing = true;
      while (missing) {
        missing = false;
#pragma unroll
        for (int s = 0; s < kSlots; ++s) {
          const float* slot = slot_of(min(i + s * warps, count - 1));
#pragma unroll
          for (int k = 0; k < kAtOnce; ++k) {
            const int piece = min(first + 32 * k, pieces - 1);
            load_now(state[s][k], slot + group * D + 2 * (piece / (D / 4)));
            load_now(v[s][k], slot + 4 * piece);
          }
        }
#pragma unroll
        for (int s = 0; s < kSlots; ++s)
#pragma unroll
          for (int k = 0; k < kAtOnce; ++k) missing |= absent(state[s][k]) || absent(v[s][k]);
      }
#pragma unroll
      for (int s = 0; s < kSlots; ++s) {
        if (i + s * warps >= count) break;
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) {
          const float next = fmaxf(max[k], state[s][k].x);
          const float old = merge_weight(max[k], next), mine = merge_weight(state[s][k].x, next);
          max[k] = next, sum[k] = sum[k] * old + state[s][k].y * mine;
          o[k].x *= old, o[k].y *= old, o[k].z *= old, o[k].w *= old;
          add_weighted(o[k], mine, v[s][k]);
        }
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

/// Leaves `count` slots of so many floats as gather_partials expects them to be before they are
/// written.
template <class SlotOf>
__device__ void empty_slots(int floats, int count, const SlotOf& slot_of) {
  const int warps = static_cast<int>(blockDim.x) / 32;
  const float no = __uint_as_float(kUnwritten);
#pragma unroll 1
  for (int i = threadIdx.x / 32; i < count; i += warps)
#pragma unroll 1
    for (int at = threadIdx.x % 32; at < floats / 4; at += 32)
      reinterpret_cast<float4*>(slot_of(i))[at] = make_float4(no, no, no, no);
}

/// A block is done with its tiles of a pair: merges its warps, and if it is the last of the pair's
/// blocks to get here, the blocks. It says that it got here before it has merged its warps, so that
/// nobody waits for the answer; who comes last waits for what the others are about to write. All
/// threads; `last` is a word of shared memory.
template <int D, class SharesOf>
__device__ void finish_pair(const AttendParams& p, const SharesOf& shares, int pair,
                            const WarpResults& results, bool& last) {
  const int group = p.shape.group, block = blockIdx.x;
  const std::size_t slot_size = attend_slot(p.shape);
  float* output = p.output + static_cast<std::int64_t>(pair) * group * D;
  float* log_sum_exp = p.log_sum_exp + pair * group;
  const Span span = shares.span(pair);
  const bool whole = span.first == span.last;
  // Of the last warp, which has the least to merge.
  const bool announces = !whole && threadIdx.x == blockDim.x - 32;
  std::int32_t before = 0;
  if (announces) before = atomicAdd(p.arrived + pair, 1);
  __syncthreads();
  merge_warps<D>(group, results, whole ? nullptr : p.partial + shares.slot(block, pair) * slot_size,
                 output, log_sum_exp);
  if (!whole) {
    if (announces) last = before == span.last - span.first;
    __syncthreads();
    if (last) {
      const int blocks = span.last - span.first + 1;
      const auto slot_of = [&](int i) {
        return p.partial + shares.slot(span.first + i, pair) * slot_size;
      };
      gather_partials<D>(group, blocks, slot_of, results);
      __syncthreads();
      merge_warps<D>(group, results, nullptr, output, log_sum_exp);
      empty_slots(static_cast<int>(slot_size), blocks, slot_of);
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
