// The skeleton around an engine: share out the tiles, merge warps, merge blocks.
#pragma once

#include <cuda_runtime.h>

#include "cuda/attend/simt_engine.cuh"
#include "cuda/common/launch.h"

namespace doublep::cuda {

inline constexpr int kAttendWarps = 4;
inline constexpr int kAttendThreads = 32 * kAttendWarps;

/// How many tiles each pair has, and which block owns which.
class Shares {
 public:
  /// Fills prefix[0 .. pairs] (shared memory) with the running number of tiles. All threads call.
  __device__ Shares(const AttendParams& p, std::int32_t* prefix) : prefix_(prefix) {
    const int pairs = p.shape.pairs, each = (pairs + kAttendThreads - 1) / kAttendThreads;
    const int begin = threadIdx.x * each, end = min(begin + each, pairs);
    std::int32_t sum = 0;
    for (int i = begin; i < end; ++i) sum += tiles(p, i);
    std::int32_t scan = sum;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const std::int32_t other = __shfl_up_sync(~0u, scan, d);
      if (threadIdx.x % 32 >= d) scan += other;
    }
    __shared__ std::int32_t warp_sum[kAttendWarps];
    if (threadIdx.x % 32 == 31) warp_sum[threadIdx.x / 32] = scan;
    __syncthreads();
    std::int32_t at = scan - sum;
    for (int w = 0; w < static_cast<int>(threadIdx.x) / 32; ++w) at += warp_sum[w];
    for (int i = begin; i < end; ++i) prefix[i] = at, at += tiles(p, i);
    if (threadIdx.x == kAttendThreads - 1) prefix[pairs] = at;
    __syncthreads();
    total_ = prefix[pairs];
    blocks_ = min(static_cast<int>(gridDim.x), (total_ + kAttendWarps - 1) / kAttendWarps);
  }

  __device__ static std::int32_t exact_tiles(const AttendParams& p, int pair) {
    if (p.kind == WorkKind::kDense) return (p.lengths[pair / p.shape.kv_heads] + kTile - 1) / kTile;
    if (p.kind == WorkKind::kTokens) return (p.num_work[pair] + kTile - 1) / kTile;
    return p.num_work[pair];
  }
  __device__ static std::int32_t tiles(const AttendParams& p, int pair) {
    const std::int32_t terms = p.num_terms ? p.num_terms[pair] : 0;
    return exact_tiles(p, pair) + (terms + kTile - 1) / kTile;
  }

  __device__ int blocks() const { return blocks_; }
  __device__ std::int32_t first_tile(int block) const {
    return static_cast<std::int32_t>(static_cast<std::int64_t>(block) * total_ / blocks_);
  }
  __device__ int block_of(std::int32_t tile) const {
    return static_cast<int>((static_cast<std::int64_t>(tile + 1) * blocks_ - 1) / total_);
  }
  __device__ int pair_of(std::int32_t tile, int pairs) const {
    int low = 0, high = pairs;  // the last pair whose prefix is <= tile, and which is not empty
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (prefix_[middle] <= tile ? low : high) = middle;
    }
    return low;
  }

 private:
  std::int32_t* prefix_;
  std::int32_t total_;
  int blocks_;
};

/// Shared memory: prefix [pairs + 1], then states [warps, group] float2, outputs [warps, group, D].
__host__ __device__ inline std::size_t attend_shared_bytes(const Shape& s) {
  const std::size_t prefix = (sizeof(std::int32_t) * (s.pairs + 1) + 15) / 16 * 16;
  return prefix + kAttendWarps * (s.group + s.group % 2) * sizeof(float2) +
         sizeof(float) * kAttendWarps * s.group * s.head_dim;
}

/// What a partial result with running maximum `max` counts for in the merge.
__device__ inline float merge_weight(float max, float all_max) {
  return all_max == -INFINITY ? 0.f : exp2f(max - all_max);
}

template <class Engine, bool kGather>
__global__ void __launch_bounds__(kAttendThreads, Engine::kDim > 128 ? 2 : 3)
    attend_kernel(const __grid_constant__ AttendParams p) {
  using T = typename Engine::Element;
  constexpr int D = Engine::kDim;
  extern __shared__ __align__(16) unsigned char shared[];
  auto* prefix = reinterpret_cast<std::int32_t*>(shared);
  const int group = p.shape.group, pairs = p.shape.pairs;
  auto* states =
      reinterpret_cast<float2*>(shared + (sizeof(std::int32_t) * (pairs + 1) + 15) / 16 * 16);
  auto* outputs = reinterpret_cast<float*>(states + kAttendWarps * (group + group % 2));
  __shared__ bool finish;

  dependency_wait();
  const Shares shares(p, prefix);
  const int block = blockIdx.x, warp = threadIdx.x / 32;
  for (int pair = block; pair < pairs; pair += gridDim.x) {
    if (prefix[pair + 1] > prefix[pair]) continue;  // nothing selected: zeros
    for (int i = threadIdx.x; i < group * D; i += kAttendThreads)
      p.output[static_cast<std::int64_t>(pair) * group * D + i] = 0;
    if (static_cast<int>(threadIdx.x) < group)
      p.log_sum_exp[pair * group + threadIdx.x] = -INFINITY;
  }
  if (block >= shares.blocks()) return;

  const std::int32_t begin = shares.first_tile(block), end = shares.first_tile(block + 1);
  const std::size_t slot_size = attend_slot(p.shape);
  Engine engine;
  std::int32_t tile = begin;
  for (int pair = shares.pair_of(begin, pairs); tile < end; ++pair) {
    const std::int32_t pair_begin = prefix[pair], pair_end = prefix[pair + 1];
    if (pair_begin == pair_end) continue;
    const std::int32_t stop = min(end, pair_end);
    const std::int32_t exact = Shares::exact_tiles(p, pair);
    const auto* keys = static_cast<const T*>(p.keys) + pair * p.capacity * D;
    const auto* values = static_cast<const T*>(p.values) + pair * p.capacity * D;
    engine.begin(static_cast<const T*>(p.queries) + static_cast<std::int64_t>(pair) * group * D,
                 group);

    const std::uint32_t all = (1u << group) - 1;
    const int visible = p.kind == WorkKind::kDense ? p.lengths[pair / p.shape.kv_heads] : 0;
    const int work = p.kind == WorkKind::kDense ? 0 : p.num_work[pair];
    const Run* runs = p.runs + pair * p.work_capacity;
    std::int32_t local = tile - pair_begin + warp;
    const std::int32_t local_stop = stop - pair_begin;
    Run next{};
    if (p.kind == WorkKind::kRuns && local < min(local_stop, exact)) next = runs[local];
    for (; local < min(local_stop, exact); local += kAttendWarps) {
      Tile<kGather> t{};
      if constexpr (kGather) {
        t.ids = p.tokens + pair * p.work_capacity + local * kTile;
        t.count = min(kTile, work - local * kTile);
      } else if (p.kind == WorkKind::kDense) {
        t.row = local * kTile, t.mask = all, t.count = min(kTile, visible - local * kTile);
      } else {
        t.row = next.row, t.mask = next.meta >> 8, t.count = next.meta & 0xFF;
        if (local + kAttendWarps < min(local_stop, exact)) next = runs[local + kAttendWarps];
      }
      engine.exact(keys, values, t, p.scale * kLog2e);
    }
    for (; local < local_stop; local += kAttendWarps) {
      const int at = (local - exact) * kTile;
      Tile<true> t{};
      t.ids = p.terms + pair * p.term_capacity + at;
      t.count = min(kTile, p.num_terms[pair] - at);
      engine.terms(static_cast<const T*>(p.mean_values) + pair * p.term_capacity * D,
                   p.log_masses + static_cast<std::int64_t>(pair) * group * p.term_capacity,
                   p.term_capacity, t);
    }
    engine.store(outputs + warp * group * D, states + warp * (group + group % 2));
    __syncthreads();

    const bool whole = begin <= pair_begin && pair_end <= end;
    float* slot = p.partial + (2 * static_cast<std::size_t>(block) + (tile > begin)) * slot_size;
    for (int i = threadIdx.x; i < group * D / 4; i += kAttendThreads) {
      const int h = i / (D / 4);
      float max = -INFINITY, sum = 0;
#pragma unroll
      for (int w = 0; w < kAttendWarps; ++w)
        max = fmaxf(max, states[w * (group + group % 2) + h].x);
      float4 o = {0, 0, 0, 0};
#pragma unroll
      for (int w = 0; w < kAttendWarps; ++w) {
        const float2 state = states[w * (group + group % 2) + h];
        const float weight = merge_weight(state.x, max);
        const float4 v = reinterpret_cast<const float4*>(outputs + w * group * D)[i];
        sum += weight * state.y;
        o.x += weight * v.x, o.y += weight * v.y, o.z += weight * v.z, o.w += weight * v.w;
      }
      if (whole) {
        const float inverse = sum == 0 ? 0 : 1 / sum;
        o.x *= inverse, o.y *= inverse, o.z *= inverse, o.w *= inverse;
        reinterpret_cast<float4*>(p.output + static_cast<std::int64_t>(pair) * group * D)[i] = o;
        if (i % (D / 4) == 0)
          p.log_sum_exp[pair * group + h] = sum == 0 ? -INFINITY : (max + log2f(sum)) * kLn2;
      } else {
        reinterpret_cast<float4*>(slot)[i] = o;
        if (i % (D / 4) == 0)
          reinterpret_cast<float2*>(slot + group * D)[h] = make_float2(max, sum);
      }
    }
    if (!whole) {
      __threadfence();
      __syncthreads();
      const int first = shares.block_of(pair_begin), last = shares.block_of(pair_end - 1);
      if (threadIdx.x == 0) finish = atomicAdd(p.arrived + pair, 1) == last - first;
      __syncthreads();
      if (finish) {
        __threadfence();
        // Block `first` kept this pair in its second slot if it began with another one.
        const int late = shares.first_tile(first) < pair_begin;
        const auto slot_of = [&](int b) {
          return p.partial +
                 (2 * static_cast<std::size_t>(b) + (b == first ? late : 0)) * slot_size;
        };
        for (int i = threadIdx.x; i < group * D / 4; i += kAttendThreads) {
          const int h = i / (D / 4);
          float max = -INFINITY, sum = 0;
          for (int b = first; b <= last; ++b)
            max = fmaxf(max, __ldcg(reinterpret_cast<const float2*>(slot_of(b) + group * D) + h).x);
          float4 o = {0, 0, 0, 0};
#pragma unroll 4
          for (int b = first; b <= last; ++b) {
            const float2 state =
                __ldcg(reinterpret_cast<const float2*>(slot_of(b) + group * D) + h);
            const float4 v = __ldcg(reinterpret_cast<const float4*>(slot_of(b)) + i);
            const float weight = merge_weight(state.x, max);
            sum += weight * state.y;
            o.x += weight * v.x, o.y += weight * v.y, o.z += weight * v.z, o.w += weight * v.w;
          }
          const float inverse = sum == 0 ? 0 : 1 / sum;
          o.x *= inverse, o.y *= inverse, o.z *= inverse, o.w *= inverse;
          reinterpret_cast<float4*>(p.output + static_cast<std::int64_t>(pair) * group * D)[i] = o;
          if (i % (D / 4) == 0)
            p.log_sum_exp[pair * group + h] = sum == 0 ? -INFINITY : (max + log2f(sum)) * kLn2;
        }
        if (threadIdx.x == 0) p.arrived[pair] = 0;
      }
    }
    __syncthreads();  // states and outputs are written again for the next pair
    tile = stop;
  }
}

/// Instantiated once per element type, see attend_*.cu.
template <class Engine>
void launch_attend(const AttendParams& p, cudaStream_t stream, bool overlap) {
  const LaunchConfig config{dim3(p.blocks), dim3(kAttendThreads), attend_shared_bytes(p.shape),
                            stream, overlap};
  if (p.kind == WorkKind::kTokens)
    launch(config, attend_kernel<Engine, true>, p);
  else
    launch(config, attend_kernel<Engine, false>, p);
}

template <class Engine>
int resident_attend_blocks(const AttendParams& p) {
  int per_sm = 0;
  const std::size_t bytes = attend_shared_bytes(p.shape);
  if (bytes > 48 * 1024)
    DP_CUDA(cudaFuncSetAttribute(attend_kernel<Engine, false>,
                                 cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(bytes)));
  DP_CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_sm, attend_kernel<Engine, false>,
                                                        kAttendThreads, bytes));
  return per_sm;
}

void attend_fp32(const AttendParams& p, cudaStream_t stream, bool overlap);
void attend_fp16(const AttendParams& p, cudaStream_t stream, bool overlap);
void attend_bf16(const AttendParams& p, cudaStream_t stream, bool overlap);
int attend_blocks_fp32(const AttendParams& p);
int attend_blocks_fp16(const AttendParams& p);
int attend_blocks_bf16(const AttendParams& p);

}  // namespace doublep::cuda
