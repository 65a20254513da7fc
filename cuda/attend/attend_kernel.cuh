// The skeleton around an engine: share out the tiles, merge warps, merge blocks.
#pragma once

#include <cuda_runtime.h>

#include "cuda/attend/merge.cuh"
#include "cuda/attend/simt_engine.cuh"
#include "cuda/common/launch.h"

namespace doublep::cuda {

/// Shared memory: prefix [pairs + 1], then states [warps, group] float2, outputs [warps, group, D].
inline std::size_t attend_shared_bytes(const Shape& s, int warps) {
  const std::size_t prefix = (sizeof(std::int32_t) * (s.pairs + 1) + 15) / 16 * 16;
  return prefix + warps * (s.group + s.group % 2) * sizeof(float2) +
         sizeof(float) * warps * s.group * s.head_dim;
}

template <class Engine, WorkKind kKind>
__global__ void __launch_bounds__(32 * Engine::kWarps, 1)
    attend_kernel(const __grid_constant__ AttendParams p) {
  using T = typename Engine::Element;
  constexpr bool kGather = kKind == WorkKind::kTokens;
  constexpr int D = Engine::kDim;
  const int threads = static_cast<int>(blockDim.x), warps = threads / 32;
  extern __shared__ __align__(16) unsigned char shared[];
  auto* prefix = reinterpret_cast<std::int32_t*>(shared);
  const int group = p.shape.group, pairs = p.shape.pairs;
  auto* states =
      reinterpret_cast<float2*>(shared + (sizeof(std::int32_t) * (pairs + 1) + 15) / 16 * 16);
  auto* outputs = reinterpret_cast<float*>(states + warps * (group + group % 2));
  const WarpResults results{states, outputs, group + group % 2};
  __shared__ bool last;

  const std::int64_t query_bytes =
      static_cast<std::int64_t>(pairs) * group * D * static_cast<int>(sizeof(T));
  const std::int64_t line = 128ll * (static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x);
  if (line < query_bytes)
    asm volatile("prefetch.global.L2 [%0];" ::"l"(static_cast<const char*>(p.queries) + line));
  dependency_wait();
  const Shares<kKind> shares(p, prefix);
  const int block = blockIdx.x, warp = threadIdx.x / 32;
  clear_empty<D>(p, prefix);
  if (block >= shares.blocks()) return;

  const auto [begin, end] = shares.stretch(block);
  if (begin == end) return;
  Engine engine;
  std::int32_t tile = begin;
  for (int pair = shares.pair_of(begin); tile < end; ++pair) {
    const std::int32_t pair_begin = prefix[pair], pair_end = prefix[pair + 1];
    if (pair_begin == pair_end) continue;
    const std::int32_t stop = min(end, pair_end);
    const std::int32_t exact = Shares<kKind>::exact_tiles(p, pair);
    const auto* keys = static_cast<const T*>(p.keys) + pair * p.capacity * D;
    const auto* values = static_cast<const T*>(p.values) + pair * p.capacity * D;
    engine.begin(static_cast<const T*>(p.queries) + static_cast<std::int64_t>(pair) * group * D,
                 group, p.directions ? 0.25f * p.scale * p.scale : 0.f,
                 p.forms ? p.forms + pair * group : nullptr);

    const std::uint32_t all = (1u << group) - 1;
    const int visible = kKind == WorkKind::kDense ? p.lengths[pair / p.shape.kv_heads] : 0;
    const int work = kKind == WorkKind::kDense ? 0 : p.num_work[pair];
    const Run* runs = p.runs + pair * p.work_capacity;
    std::int32_t local = tile - pair_begin + warp;
    const std::int32_t local_stop = stop - pair_begin;
    const int sequence = pair / p.shape.kv_heads;
    const int packed_begin = Engine::kPacked ? p.packed.begin[sequence] : 0;
    const int packed_end = Engine::kPacked ? p.packed.end[sequence] : 0;
    Run next{};
    if (kKind == WorkKind::kRuns && local < min(local_stop, exact)) next = runs[local];
    for (; local < min(local_stop, exact); local += warps) {
      GlobalRows<T, D, kGather> rows{keys, values};
      if constexpr (kGather) {
        rows.ids = p.tokens + pair * p.work_capacity + local * kTile;
        rows.count = min(kTile, work - local * kTile);
      } else if constexpr (kKind == WorkKind::kDense) {
        rows.row = local * kTile, rows.all = all, rows.count = min(kTile, visible - local * kTile);
      } else {
        rows.row = next.row, rows.all = next.meta >> 8, rows.count = next.meta & 0xFF;
        if (local + warps < min(local_stop, exact)) next = runs[local + warps];
      }
      if constexpr (Engine::kPacked && !kGather) {
        const auto row = static_cast<std::int32_t>(rows.row);
        if (row >= packed_begin && row < packed_end) {
          const std::int64_t at = pair * p.capacity + row;
          engine.template packed<1>(
              PackedBlockRows<D>{p.packed.keys + at * D, p.packed.values + at * D,
                                 p.packed.steps[at], rows.all, rows.count},
              p.scale * kLog2e);
          continue;
        }
      }
      engine.exact(rows, p.scale * kLog2e);
    }
    for (; kKind == WorkKind::kRuns && local < local_stop; local += warps) {
      const int first = (local - exact) * Shares<kKind>::terms_of_tile(p);
      const T* means = static_cast<const T*>(p.mean_values) + pair * p.term_capacity * D;
      const auto add = [&](auto rows, int at) {
        rows.count = min(kTile, p.num_terms[pair] - at);
        engine.terms(rows, p.log_masses + static_cast<std::int64_t>(pair) * group * p.term_capacity,
                     p.term_capacity, p.meta ? p.meta + pair * p.term_capacity : nullptr);
      };
      if (!p.terms) {
        GlobalRows<T, D, false> rows{nullptr, means};
#pragma unroll 1
        for (int at = first; at < min(first + 2 * kTile, p.num_terms[pair]); at += kTile) {
          rows.row = at, rows.all = all;
          add(rows, at);
        }
        continue;
      }
      GlobalRows<T, D, true> rows{nullptr, means};
      rows.ids = p.terms + pair * p.term_capacity + first;
      if (local + warps < local_stop)  // the next tile's list would be waited for
        asm volatile("prefetch.global.L1 [%0];" ::"l"(rows.ids + warps * kTile));
      add(rows, first);
    }
    engine.store(
        outputs + warp * group * D, states + warp * (group + group % 2),
        p.directions ? p.directions + static_cast<std::int64_t>(pair) * group * D : nullptr);
    finish_pair<D>(p, shares, pair, results, last);
    tile = stop;
  }
}

/// Instantiated once per element type, see attend_typed.cu.in.
template <class Engine>
void launch_attend(const AttendParams& p, cudaStream_t stream, bool overlap) {
  const int warps = p.warps > 0 ? min(p.warps, Engine::kWarps) : Engine::kWarps;
  const LaunchConfig config{dim3(p.blocks), dim3(32 * warps), attend_shared_bytes(p.shape, warps),
                            stream, overlap};
  switch (p.kind) {
    case WorkKind::kDense:
      return launch(config, attend_kernel<Engine, WorkKind::kDense>, p);
    case WorkKind::kRuns:
      return launch(config, attend_kernel<Engine, WorkKind::kRuns>, p);
    case WorkKind::kTokens:
      if constexpr (Engine::kPacked)
        throw std::invalid_argument("no kernel for single tokens of a packed cache");
      else
        return launch(config, attend_kernel<Engine, WorkKind::kTokens>, p);
  }
}

template <class Engine>
int resident_attend_blocks(const AttendParams& p) {
  int per_sm = 0;
  const std::size_t bytes = attend_shared_bytes(p.shape, Engine::kWarps);
  if (bytes > 48 * 1024)
    DP_CUDA(cudaFuncSetAttribute(attend_kernel<Engine, WorkKind::kRuns>,
                                 cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(bytes)));
  DP_CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
      &per_sm, attend_kernel<Engine, WorkKind::kRuns>, 32 * Engine::kWarps, bytes));
  return per_sm;
}

void attend_fp32(const AttendParams& p, cudaStream_t stream, bool overlap);
void attend_fp16(const AttendParams& p, cudaStream_t stream, bool overlap);
void attend_bf16(const AttendParams& p, cudaStream_t stream, bool overlap);
void attend_fp8(const AttendParams& p, cudaStream_t stream, bool overlap);
int attend_blocks_fp32(const AttendParams& p);
int attend_blocks_fp16(const AttendParams& p);
int attend_blocks_bf16(const AttendParams& p);
int attend_blocks_fp8(const AttendParams& p);

}  // namespace doublep::cuda
