// The estimate of clusters where there is much to read, on chips with bulk copies: rows stream
// through shared memory, so that every warp has several tiles under way while it computes, stores
// and takes up another pair. A block stays for the whole launch, one a multiprocessor: blocks that
// come and go start each with nothing under way.
#include <cuda_runtime.h>

#include "cuda/common/bulk_copy.cuh"
#include "cuda/common/launch.h"
#include "cuda/common/mma.cuh"
#include "cuda/estimate/bulk.h"
#include "cuda/estimate/tiles.cuh"
#include "cuda/select/block_scan.cuh"

namespace doublep::cuda {
namespace {

/// A warp's ring: its stages hold a tile's rows, then the meta of its clusters. In all warps' rings
/// there are 128 KiB, as many as keep memory busy for attend (cuda/results/NOTES.md). Many warps
/// rather than many stages, since a tile's way through a warp is long against the time that memory
/// takes for it.
template <int D>
struct RingLayout {
  static constexpr int kWarps = D > 128 ? 8 : 16;
  static constexpr int kDepth = 4096 / (D * kWarps);
  static constexpr std::uint32_t kRowBytes = 2 * D, kRows = kTile * kRowBytes;
  static constexpr std::uint32_t kMetaBytes = kTile * sizeof(ClusterMeta);
  static constexpr std::uint32_t kStage = kRows + kMetaBytes, kRing = kDepth * kStage;

  /// Where things lie in shared memory: rings, barriers, prefix.
  static constexpr std::size_t kBarriers = kWarps * kRing;
  static constexpr std::size_t kPrefix = kBarriers + kWarps * kDepth * sizeof(std::uint64_t);
  static std::size_t bytes(int pairs) { return kPrefix + sizeof(std::int32_t) * (pairs + 1); }
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// The tiles of all pairs, numbered through, and what a pair's tile is one of.
class Tiles {
 public:
  /// `each`: of every pair, as if all had `capacity` items, which asks memory for nothing; 0: as
  /// many as there are, and prefix[0 .. pairs] (shared memory) is filled. All threads call.
  __device__ Tiles(const EstimateParams& p, const Regions& regions, int each, std::int32_t* prefix)
      : regions_(regions), prefix_(prefix), pairs_(p.shape.pairs), each_(each) {
    if (each > 0) return;
    const int threads = static_cast<int>(blockDim.x);
    __shared__ std::int32_t scratch[BlockOps::kScratch];
    const int share = (pairs_ + threads - 1) / threads;
    const int begin = threadIdx.x * share, end = min(begin + share, pairs_);
    const auto tiles = [&](int pair) {
      return (p.num_rows[pair] + kTile - 1) / kTile + regions.end - regions.zone;
    };
    std::int32_t sum = 0, total = 0;
#pragma unroll 1
    for (int i = begin; i < end; ++i) sum += tiles(i);
    std::int32_t at = BlockOps::exclusive_scan(sum, scratch, &total);
#pragma unroll 1
    for (int i = begin; i < end; ++i) prefix[i] = at, at += tiles(i);
    if (threadIdx.x == 0) prefix[pairs_] = total;
    __syncthreads();
  }
  __device__ std::int32_t before(int pair) const {
    return each_ > 0 ? pair * each_ : prefix_[pair];
  }
  /// Of a tile that there is.
  __device__ int pair_of(std::int32_t tile) const {
    if (each_ > 0) return tile / each_;
    int low = 0, high = pairs_;  // the last pair with no more tiles before it
#pragma unroll 1
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (prefix_[middle] <= tile ? low : high) = middle;
    }
    return low;
  }
  /// The number in Regions of a pair's tile, of which it has `count`: the tiles of items that are
  /// not there stand before those of the other regions.
  __device__ int number(int tile, int count) const {
    const int missing = regions_.end - count;
    return tile < regions_.zone - missing ? tile : tile + missing;
  }
  __device__ const Regions& regions() const { return regions_; }

 private:
  const Regions& regions_;
  const std::int32_t* prefix_;
  int pairs_, each_;
};

/// A warp's tiles on their way from global to shared memory.
template <int D>
class Ring {
 public:
  using Layout = RingLayout<D>;

  /// The warp's tiles are tile, tile + Layout::kWarps, ... before `end`; the first one is of
  /// `pair`. `stages`, `barriers`: this warp's part of shared memory. Starts the first copies.
  __device__ Ring(const EstimateParams& p, const Tiles& tiles, unsigned char* stages,
                  std::uint64_t* barriers, std::int32_t tile, std::int32_t end, int pair)
      : tiles_(tiles), stages_(stages), barriers_(barriers), tile_(tile), end_(end), pair_(pair) {
    if (threadIdx.x % 32 == 0)
#pragma unroll 1
      for (int i = 0; i < Layout::kDepth; ++i) barrier_init(barriers + i);
    barrier_init_fence();
    __syncwarp();
#pragma unroll 1
    for (now_ = 0; now_ < Layout::kDepth; ++now_) fetch(p);
    now_ = 0;
  }
  /// Waits for the oldest tile.
  __device__ void wait() { barrier_wait(barriers_ + now_, parity_); }
  __device__ const std::uint16_t* row(int r) const {
    return reinterpret_cast<const std::uint16_t*>(stage() + r * Layout::kRowBytes);
  }
  __device__ ClusterMeta meta(int r) const {
    return reinterpret_cast<const ClusterMeta*>(stage() + Layout::kRows)[r];
  }
  /// All lanes have read the oldest tile: its place takes the next one.
  __device__ void advance(const EstimateParams& p) {
    __syncwarp();
    fetch(p);
    if (++now_ == Layout::kDepth) now_ = 0, parity_ ^= 1;
  }

 private:
  __device__ unsigned char* stage() const { return stages_ + now_ * Layout::kStage; }

  /// Items come with their meta, 16 of each whether they are there or not: the capacity is a
  /// multiple of 16. A tile of the zone is up to two pieces, sinks and tail, and may be none.
  __device__ void fetch(const EstimateParams& p) {
    if (tile_ >= end_) return;
    if (tile_ >= pair_end_) {
#pragma unroll 1
      while (tile_ >= tiles_.before(pair_ + 1)) ++pair_;
      pair_begin_ = tiles_.before(pair_), pair_end_ = tiles_.before(pair_ + 1);
    }
    const int tile = tiles_.number(tile_ - pair_begin_, pair_end_ - pair_begin_);
    const Regions::Kind kind = tiles_.regions().kind(tile);
    const int first = tiles_.regions().first(tile), lane = threadIdx.x % 32;
    const auto* rows = static_cast<const std::uint16_t*>(p.rows);
    const void* from = nullptr;  // of lanes 0 and 1, a piece each
    std::uint32_t at = 0, bytes = lane == 0 ? Layout::kRows : 0;
    if (kind == Regions::kItems) {
      const std::int64_t item = pair_ * p.capacity + first;
      from = rows + item * D;
      if (lane == 1 && p.meta) from = p.meta + item, at = Layout::kRows, bytes = Layout::kMetaBytes;
    } else if (kind == Regions::kZone) {
      const ZoneSlots zone(p, pair_);
      const int begin = lane == 0 ? first : max(first, zone.sink);
      const int stop =
          lane == 0 ? min(zone.sink, zone.length) : zone.sink + zone.length - zone.tail;  // slots
      const int row = lane == 0 ? begin : zone.tail + begin - zone.sink;
      from = static_cast<const std::uint16_t*>(p.keys) + (pair_ * p.key_capacity + row) * D;
      at = (begin - first) * Layout::kRowBytes;
      bytes = max(min(first + kTile, stop) - begin, 0) * Layout::kRowBytes;
    } else {
      from = static_cast<const std::uint16_t*>(matrix_of(p, kind)) +
             (static_cast<std::int64_t>(pair_) * D + first) * D;
    }
    const std::uint32_t all = __shfl_sync(~0u, bytes, 0) + __shfl_sync(~0u, bytes, 1);
    if (lane == 0) barrier_expect(barriers_ + now_, all);
    __syncwarp();
    if (lane < 2 && bytes > 0) {
      // What selection and attend read after this stays in L2 rather than rows of this launch.
      if (lane == 0 && kind != Regions::kZone)
        bulk_copy(stage(), from, bytes, barriers_ + now_);
      else
        bulk_copy_of_lasting(stage() + at, from, bytes, barriers_ + now_);
    }
    tile_ += Layout::kWarps;
  }

  const Tiles& tiles_;
  unsigned char* stages_;
  std::uint64_t* barriers_;
  int now_ = 0;
  std::uint32_t parity_ = 0;
  std::int32_t tile_, end_;  // of the next tile to fetch
  int pair_;                 // and where the tiles of its pair are
  std::int32_t pair_begin_ = 0, pair_end_ = 0;
};

#endif

/// Tiles in equal contiguous stretches, one a block; its warps take turns. `each`: as Tiles has it.
template <class T, int D>
__global__ void __launch_bounds__(32 * RingLayout<D>::kWarps, 1)
    estimate_bulk(const __grid_constant__ EstimateParams p, const __grid_constant__ Regions regions,
                  int each) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  using Layout = RingLayout<D>;
  extern __shared__ __align__(128) unsigned char shared[];
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, group = p.shape.group;
  dependency_release();
  dependency_wait();
  const Tiles tiles(p, regions, each, reinterpret_cast<std::int32_t*>(shared + Layout::kPrefix));
  const int total = tiles.before(p.shape.pairs), blocks = static_cast<int>(gridDim.x);
  const int share = total / blocks, over = total - share * blocks;
  const int block = static_cast<int>(blockIdx.x), begin = block * share + min(block, over);
  const int end = begin + share + (block < over ? 1 : 0);
  int tile = begin + warp;
  if (tile >= end) return;
  int pair = tiles.pair_of(tile);
  Ring<D> ring(p, tiles, shared + warp * Layout::kRing,
               reinterpret_cast<std::uint64_t*>(shared + Layout::kBarriers) + warp * Layout::kDepth,
               tile, end, pair);
  for (; tiles.before(pair) < end; ++pair) {
    const int pair_begin = tiles.before(pair), pair_end = tiles.before(pair + 1);
    const int stop = min(end, pair_end);
    if (tile >= stop) continue;
    const int num_rows = p.num_rows[pair];
    QueryFragment<T, D> q;
    q.load(static_cast<const T*>(p.queries) + static_cast<std::int64_t>(pair) * group * D, group);
    float2 spread = {0, 0};
    if (p.estimator == MassEstimate::kSecondOrder) {
      spread = q.squared_norms();
      spread.x *= 0.5f * p.scale * p.scale, spread.y *= 0.5f * p.scale * p.scale;
    }
#pragma unroll 1
    for (; tile < stop; tile += Layout::kWarps) {
      const int number = tiles.number(tile - pair_begin, pair_end - pair_begin);
      const Regions::Kind kind = regions.kind(number);
      const int first = regions.first(number);
      bool present[2] = {true, true};
      if (kind == Regions::kZone) {
        const ZoneSlots zone(p, pair);
        present[0] = zone.row(first + g) >= 0, present[1] = zone.row(first + g + 8) >= 0;
      }
      ring.wait();
      RowFragment<D> rows;
      rows.template load<LoadShared>(ring.row(g), ring.row(g + 8));
      ClusterMeta meta[2] = {{0, 0}, {0, 0}};
      if (p.meta && kind == Regions::kItems) meta[0] = ring.meta(g), meta[1] = ring.meta(g + 8);
      float s[4] = {0, 0, 0, 0};
      rows.dot(q, s);
      ring.advance(p);
      store_products<false>(p, pair, kind, first, num_rows, s, meta, present, spread);
    }
  }
#endif
}

}  // namespace

bool bulk_estimate(const EstimateParams& p, const Regions& regions, cudaStream_t stream,
                   bool overlap) {
  int device = 0, major = 0, most = 0, blocks = p.blocks;
  DP_CUDA(cudaGetDevice(&device));
  DP_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  DP_CUDA(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  if (blocks == 0) DP_CUDA(cudaDeviceGetAttribute(&blocks, cudaDevAttrMultiProcessorCount, device));
  return for_head_dim(p.shape.head_dim, [&]<int kDim>(std::integral_constant<int, kDim>) {
    using Layout = RingLayout<kDim>;
    const std::size_t bytes = Layout::bytes(p.shape.pairs);
    if (major < 9 || bytes + 1024 > static_cast<std::size_t>(most)) return false;
    const LaunchConfig config{dim3(blocks), dim3(32 * Layout::kWarps), bytes, stream, overlap};
    const int each = p.full && !p.sparse ? regions.end : 0;
    if (p.dtype == DType::kFp16)
      launch(config, estimate_bulk<__half, kDim>, p, regions, each);
    else
      launch(config, estimate_bulk<__nv_bfloat16, kDim>, p, regions, each);
    return true;
  });
}

}  // namespace doublep::cuda
