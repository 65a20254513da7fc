// Dense attention on chips with bulk copies: as attend_kernel.cuh, but rows stream through shared
// memory. What a selection leaves are short runs, which gain nothing from it.
#include <cuda_runtime.h>

#include <type_traits>

#include "cuda/attend/merge.cuh"
#include "cuda/attend/shares.cuh"
#include "cuda/common/bulk_copy.cuh"
#include "cuda/common/launch.h"
#include "cuda/common/types.h"

namespace doublep::cuda {

/// One stage: a tile's rows of keys, then of values. kPacks: of a packed cache's, with what their
/// elements stand for beside them, and two tiles of products at once where registers allow it.
template <class T, int D, bool kPacks>
struct RingStage {
  using Element = std::conditional_t<kPacks, std::uint8_t, T>;
  static constexpr int kRows = kPacks && D <= 128 ? 2 * kTile : kTile;
  static constexpr std::uint32_t kRowBytes = D * sizeof(Element), kHalf = kRows * kRowBytes;
  static constexpr std::size_t kBytes = 2 * kHalf;
  static constexpr std::uint32_t kStepBytes = kPacks ? 16 : 0;  // a copy's smallest size
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// A warp's ring of tiles on their way from global to shared memory: as many bytes stay under way
/// while it computes as while it waits, across the border of a pair too. Of a packed cache only the
/// packed rows come this way; the few others are read where they lie.
template <class T, int D, bool kPacks>
class Ring {
 public:
  using Stage = RingStage<T, D, kPacks>;
  using Element = typename Stage::Element;

  /// `rows`, `steps`, `barriers`: this warp's part of shared memory.
  __device__ Ring(unsigned char* rows, unsigned char* steps, std::uint64_t* barriers, int depth)
      : rows_(rows), steps_(steps), barriers_(barriers), depth_(depth) {
    if (threadIdx.x % 32 == 0)
#pragma unroll 1
      for (int i = 0; i < depth; ++i) barrier_init(barriers + i);
    barrier_init_fence();
    __syncwarp();
  }
  /// The warp's tiles are tile, tile + stride, ... before `end`. Starts the first copies.
  __device__ void open(const AttendParams& p, const std::int32_t* prefix, std::int32_t tile,
                       std::int32_t stride, std::int32_t end, int pair) {
    tile_ = tile, stride_ = stride, end_ = end, pair_ = pair;
#pragma unroll 1
    for (now_ = 0; now_ < depth_; ++now_) fetch(p, prefix);
    now_ = 0;
  }
  /// Waits for the oldest tile.
  __device__ void wait() { barrier_wait(barriers_ + now_, parity_); }
  __device__ const Element* keys() const { return reinterpret_cast<const Element*>(stage()); }
  __device__ const Element* values() const {
    return reinterpret_cast<const Element*>(stage() + Stage::kHalf);
  }
  /// Of all of its rows, of which `row` is the first, counted through all pairs.
  __device__ float2 steps(std::int64_t row) const {
    return reinterpret_cast<const float2*>(steps_ + now_ * Stage::kStepBytes)[row % 2];
  }
  /// All lanes have read the oldest tile: its place takes the next one.
  __device__ void advance(const AttendParams& p, const std::int32_t* prefix) {
    __syncwarp();
    fetch(p, prefix);
    if (++now_ == depth_) now_ = 0, parity_ ^= 1;
  }

 private:
  __device__ unsigned char* stage() const { return rows_ + now_ * Stage::kBytes; }

  __device__ void fetch(const AttendParams& p, const std::int32_t* prefix) {
    std::int32_t row = 0;
    for (;; tile_ += stride_) {
      if (tile_ >= end_) return;
      if (tile_ >= pair_end_) {
#pragma unroll 1
        while (tile_ >= prefix[pair_ + 1]) ++pair_;
        pair_begin_ = prefix[pair_], pair_end_ = prefix[pair_ + 1];
        const int sequence = pair_ / p.shape.kv_heads;
        rows_end_ = kPacks ? p.packed.end[sequence] : p.lengths[sequence];
      }
      row = (tile_ - pair_begin_) * Stage::kRows;
      if (!kPacks || row < rows_end_) break;
    }
    const int lane = threadIdx.x % 32;
    const std::uint32_t bytes = min(Stage::kRows, rows_end_ - row) * Stage::kRowBytes;
    const std::int64_t first = pair_ * p.capacity + row;
    if (lane == 0) barrier_expect(barriers_ + now_, 2 * bytes + Stage::kStepBytes);
    __syncwarp();
    const void* from =
        kPacks ? (lane == 0 ? p.packed.keys : p.packed.values) : (lane == 0 ? p.keys : p.values);
    if (lane < 2)
      bulk_copy(stage() + lane * Stage::kHalf, static_cast<const Element*>(from) + first * D, bytes,
                barriers_ + now_);
    if (kPacks && lane == 2)  // 16 bytes that begin at an even row
      bulk_copy(steps_ + now_ * Stage::kStepBytes, p.packed.steps + (first & ~std::int64_t{1}),
                Stage::kStepBytes, barriers_ + now_);
    tile_ += stride_;
  }

  unsigned char *rows_, *steps_;
  std::uint64_t* barriers_;
  int depth_, now_ = 0;
  std::uint32_t parity_ = 0;
  std::int32_t tile_ = 0, stride_ = 0, end_ = 0;  // of the next tile to fetch
  int pair_ = 0;  // and what it has: tiles, and rows that come this way
  std::int32_t pair_begin_ = 0, pair_end_ = 0, rows_end_ = 0;
};

#endif

template <int D>
inline constexpr int kBulkWarps = D > 128 ? 4 : 8;  // of a block, one block a multiprocessor

/// Where things lie in shared memory: rows, steps, barriers, prefix, states, outputs.
template <class T, int D, bool kPacks>
struct BulkLayout {
  using Stage = RingStage<T, D, kPacks>;
  static constexpr int kWarps = kBulkWarps<D>;
  std::size_t steps, barriers, prefix, states, outputs, bytes;
  int stride;  ///< of states: heads, rounded up to two

  __host__ __device__ BulkLayout(const Shape& s, int depth) : stride(s.group + s.group % 2) {
    steps = depth * kWarps * Stage::kBytes;
    barriers = steps + depth * kWarps * Stage::kStepBytes;
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

template <class T, int D, bool kPacks>
__global__ void __launch_bounds__(32 * kBulkWarps<D>, 1)
    bulk_attend_kernel(const __grid_constant__ AttendParams p, int depth) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if (threadIdx.x == 0)  // what a block's first rows are waits for these
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p.lengths));
  constexpr int kWarps = kBulkWarps<D>;
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ bool last;
  using Stage = RingStage<T, D, kPacks>;
  const BulkLayout<T, D, kPacks> layout(p.shape, depth);
  const int warp = threadIdx.x / 32, block = blockIdx.x, group = p.shape.group;
  auto* prefix = reinterpret_cast<std::int32_t*>(shared + layout.prefix);
  const WarpResults results{reinterpret_cast<float2*>(shared + layout.states),
                            reinterpret_cast<float*>(shared + layout.outputs), layout.stride};
  Ring<T, D, kPacks> ring(shared + static_cast<std::size_t>(warp) * depth * Stage::kBytes,
                          shared + layout.steps + warp * depth * Stage::kStepBytes,
                          reinterpret_cast<std::uint64_t*>(shared + layout.barriers) + warp * depth,
                          depth);
  dependency_wait();
  const Shares<WorkKind::kDense, Stage::kRows> shares(p, prefix);
  clear_empty<D>(p, prefix);
  if (block >= shares.blocks()) return;
  const auto [begin, end] = shares.stretch(block);
  if (begin == end) return;

  std::int32_t tile = begin + warp;
  int pair = shares.pair_of(begin);
  ring.open(p, prefix, tile, kWarps, end, pair);
  MmaEngine<T, D, kPacks> engine;
  for (; prefix[pair] < end; ++pair) {
    const std::int32_t pair_begin = prefix[pair], stop = min(end, prefix[pair + 1]);
    if (prefix[pair + 1] == pair_begin) continue;
    engine.begin(static_cast<const T*>(p.queries) + static_cast<std::int64_t>(pair) * group * D,
                 group);
    const int sequence = pair / p.shape.kv_heads, visible = p.lengths[sequence];
    const int packed_end = kPacks ? p.packed.end[sequence] : visible;
    const std::uint32_t all = (1u << group) - 1;
    for (; tile < stop; tile += kWarps) {
      const int row = (tile - pair_begin) * Stage::kRows;
      const std::int64_t first = pair * p.capacity;
      if constexpr (kPacks) {
        if (row >= packed_end) {
          GlobalRows<T, D, false> rows{static_cast<const T*>(p.keys) + first * D,
                                       static_cast<const T*>(p.values) + first * D};
          rows.all = all;
#pragma unroll 1
          for (int at = row; at < min(row + Stage::kRows, visible); at += kTile) {
            rows.row = at, rows.count = min(kTile, visible - at);
            engine.exact(rows, p.scale * kLog2e);
          }
          continue;
        }
        ring.wait();
        // For every head: what comes of those beyond the group is nobody's.
        engine.template packed<Stage::kRows / kTile>(
            PackedBlockRows<D, true>{ring.keys(), ring.values(), ring.steps(first + row), ~0u,
                                     Stage::kRows},
            p.scale * kLog2e);
      } else {
        ring.wait();
        const int count = min(kTile, visible - row);
        engine.exact(StagedRows<T, D>{ring.keys(), ring.values(), count, all}, p.scale * kLog2e);
      }
      ring.advance(p, prefix);
    }
    engine.store(results.outputs + warp * group * D, results.states + warp * layout.stride);
    finish_pair<D>(p, shares, pair, results, last);
  }
#endif
}

template <class T, int D, bool kPacks = false>
void launch_bulk_attend(const AttendParams& p, cudaStream_t stream, bool overlap) {
  int device = 0, most = 0;
  DP_CUDA(cudaGetDevice(&device));
  DP_CUDA(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  using Layout = BulkLayout<T, D, kPacks>;
  const int depth = Layout::depth(p.shape, most);
  const LaunchConfig config{dim3(p.blocks), dim3(32 * kBulkWarps<D>), Layout(p.shape, depth).bytes,
                            stream, overlap};
  launch(config, bulk_attend_kernel<T, D, kPacks>, p, depth);
}

void bulk_attend_fp16(const AttendParams& p, cudaStream_t stream, bool overlap) {
  for_head_dim(p.shape.head_dim, [&]<int kDim>(std::integral_constant<int, kDim>) {
    launch_bulk_attend<__half, kDim>(p, stream, overlap);
  });
}
void bulk_attend_bf16(const AttendParams& p, cudaStream_t stream, bool overlap) {
  for_head_dim(p.shape.head_dim, [&]<int kDim>(std::integral_constant<int, kDim>) {
    launch_bulk_attend<__nv_bfloat16, kDim>(p, stream, overlap);
  });
}
void bulk_attend_fp8(const AttendParams& p, cudaStream_t stream, bool overlap) {
  for_head_dim(p.shape.head_dim, [&]<int kDim>(std::integral_constant<int, kDim>) {
    launch_bulk_attend<__nv_bfloat16, kDim, true>(p, stream, overlap);
  });
}

}  // namespace doublep::cuda
