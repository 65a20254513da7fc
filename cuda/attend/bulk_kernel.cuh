// Dense attention on chips with bulk copies: as attend_kernel.cuh, but rows stream through shared
// memory. What a selection leaves are short runs, which gain nothing from it.
#pragma once

#include <cuda_runtime.h>

#include "cuda/attend/merge.cuh"
#include "cuda/attend/ring.cuh"
#include "cuda/common/launch.h"

namespace doublep::cuda {

template <int D>
inline constexpr int kBulkWarps = D > 128 ? 4 : 8;  // of a block, one block a multiprocessor

/// Where things lie in shared memory: rows, barriers, prefix, states, outputs.
template <class T, int D>
struct BulkLayout {
  using Stage = RingStage<T, D>;
  static constexpr int kWarps = kBulkWarps<D>;
  std::size_t barriers, prefix, states, outputs, bytes;
  int stride;  ///< of states: heads, rounded up to two

  __host__ __device__ BulkLayout(const Shape& s, int depth) : stride(s.group + s.group % 2) {
    barriers = depth * kWarps * Stage::kBytes;
    prefix = barriers + depth * kWarps * sizeof(std::uint64_t);
    states = prefix + (sizeof(std::int32_t) * (s.pairs + 1) + 15) / 16 * 16;
    outputs = states + kWarps * stride * sizeof(float2);
    bytes = outputs + kWarps * s.group * D * sizeof(float);
  }
  /// Two stages of 128-dimensional heads keep memory busy; more only wait in line (cuda/results).
  static constexpr std::size_t kUnderWay = 128 << 10;
  static int depth(const Shape& s, std::size_t most) {
    int depth = 1;
    while (depth * kWarps * Stage::kBytes < kUnderWay &&
           BulkLayout(s, depth + 1).bytes + 256 <= most)
      ++depth;
    return depth;
  }
};

template <class T, int D>
__global__ void __launch_bounds__(32 * kBulkWarps<D>, 1)
    bulk_attend_kernel(const __grid_constant__ AttendParams p, int depth) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  constexpr int kWarps = kBulkWarps<D>;
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ bool last;
  const BulkLayout<T, D> layout(p.shape, depth);
  const int warp = threadIdx.x / 32, block = blockIdx.x, group = p.shape.group;
  auto* prefix = reinterpret_cast<std::int32_t*>(shared + layout.prefix);
  const WarpResults results{reinterpret_cast<float2*>(shared + layout.states),
                            reinterpret_cast<float*>(shared + layout.outputs), layout.stride};
  Ring<T, D> ring(shared + static_cast<std::size_t>(warp) * depth * RingStage<T, D>::kBytes,
                  reinterpret_cast<std::uint64_t*>(shared + layout.barriers) + warp * depth, depth);
  dependency_wait();
  const Shares<WorkKind::kDense> shares(p, prefix);
  clear_empty<D>(p, prefix);
  if (block >= shares.blocks()) return;
  const auto [begin, end] = shares.stretch(block);
  if (begin == end) return;

  std::int32_t tile = begin + warp;
  int pair = shares.pair_of(begin);
  ring.open(p, prefix, tile, kWarps, end, pair);
  MmaEngine<T, D> engine;
  for (; prefix[pair] < end; ++pair) {
    const std::int32_t pair_begin = prefix[pair], stop = min(end, prefix[pair + 1]);
    if (prefix[pair + 1] == pair_begin) continue;
    engine.begin(static_cast<const T*>(p.queries) + static_cast<std::int64_t>(pair) * group * D,
                 group);
    const int visible = p.lengths[pair / p.shape.kv_heads];
    for (; tile < stop; tile += kWarps) {
      const int row = (tile - pair_begin) * kTile;
      ring.wait();
      engine.exact(StagedRows<T, D>{ring.keys(), ring.values(), min(kTile, visible - row),
                                    (1u << group) - 1},
                   p.scale * kLog2e);
      ring.advance(p, prefix);
    }
    engine.store(results.outputs + warp * group * D, results.states + warp * layout.stride);
    finish_pair<D>(p, shares, pair, results, last);
  }
#endif
}

/// Instantiated once per element type, see bulk_*.cu.
template <class T, int D>
void launch_bulk_attend(const AttendParams& p, cudaStream_t stream, bool overlap) {
  int device = 0, most = 0;
  DP_CUDA(cudaGetDevice(&device));
  DP_CUDA(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  const int depth = BulkLayout<T, D>::depth(p.shape, most);
  const LaunchConfig config{dim3(p.blocks), dim3(32 * kBulkWarps<D>),
                            BulkLayout<T, D>(p.shape, depth).bytes, stream, overlap};
  launch(config, bulk_attend_kernel<T, D>, p, depth);
}

}  // namespace doublep::cuda
