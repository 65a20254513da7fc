// Who does what: all tiles of all pairs, numbered through, in equal contiguous stretches, one per
// thread block. Where there are few pairs each gets blocks of its own, since a block that has to
// merge two pairs would be the last to finish. Nothing is asked of memory before a block knows its
// stretch: so loops stay rolled, for their code is fetched, and nothing is divided in 64 bits.
#pragma once

#include <cuda_runtime.h>

#include "cuda/attend/attend.h"

namespace doublep::cuda {

struct Stretch {
  std::int32_t begin, end;  ///< tiles
};
/// The blocks, from first to last, that have tiles of one pair.
struct Span {
  int first, last;
};

/// How many tiles each pair has, and which block owns which. kRows: of a tile of kDense.
template <WorkKind kKind, int kRows = kTile>
class Shares {
 public:
  /// Fills prefix[0 .. pairs] (shared memory) with the running number of tiles. All threads call.
  __device__ Shares(const AttendParams& p, std::int32_t* prefix) : prefix_(prefix) {
    const int threads = static_cast<int>(blockDim.x), warps = threads / 32;
    const int pairs = p.shape.pairs, each = (pairs + threads - 1) / threads;
    pairs_ = pairs;
    const int begin = threadIdx.x * each, end = min(begin + each, pairs);
    std::int32_t sum = 0;
#pragma unroll 1
    for (int i = begin; i < end; ++i) sum += tiles(p, i);
    std::int32_t scan = sum;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const std::int32_t other = __shfl_up_sync(~0u, scan, d);
      if (threadIdx.x % 32 >= d) scan += other;
    }
    __shared__ std::int32_t warp_sum[32];
    if (threadIdx.x % 32 == 31) warp_sum[threadIdx.x / 32] = scan;
    __syncthreads();
    std::int32_t at = scan - sum;
#pragma unroll 1
    for (int w = 0; w < static_cast<int>(threadIdx.x) / 32; ++w) at += warp_sum[w];
#pragma unroll 1
    for (int i = begin; i < end; ++i) prefix[i] = at, at += tiles(p, i);
    if (threadIdx.x == threads - 1) prefix[pairs] = at;
    __syncthreads();
    total_ = prefix[pairs];
    // A tile for every warp; where there is little to do, a block for every pair.
    blocks_ =
        min(static_cast<int>(gridDim.x), max((total_ + warps - 1) / warps, min(pairs, total_)));
    own_ = 8 * pairs <= blocks_;
    each_ = total_ / max(blocks_, 1), over_ = total_ - each_ * blocks_;
    spare_ = blocks_ - pairs_;
    spare_per_tile_ = static_cast<float>(spare_) / static_cast<float>(max(total_, 1));
  }

  __device__ static std::int32_t exact_tiles(const AttendParams& p, int pair) {
    if constexpr (kKind == WorkKind::kDense)
      return (p.lengths[pair / p.shape.kv_heads] + kRows - 1) / kRows;
    else if constexpr (kKind == WorkKind::kTokens)
      return (p.num_work[pair] + kTile - 1) / kTile;
    else
      return p.num_work[pair];
  }
  __device__ static std::int32_t tiles(const AttendParams& p, int pair) {
    if constexpr (kKind != WorkKind::kRuns) return exact_tiles(p, pair);
    const std::int32_t terms = p.num_terms ? p.num_terms[pair] : 0, each = terms_of_tile(p);
    return exact_tiles(p, pair) + (terms + each - 1) / each;
  }
  __device__ static std::int32_t terms_of_tile(const AttendParams& p) {
    return p.terms ? kTile : 2 * kTile;
  }

  __device__ int blocks() const { return blocks_; }
  __device__ Stretch stretch(int block) const {
    if (!own_) return {first_tile(block), first_tile(block + 1)};
    int pair = 0, end = pairs_;  // the last pair whose first block is not behind this one
#pragma unroll 1
    while (end - pair > 1) {
      const int middle = (pair + end) / 2;
      (first_block(middle) <= block ? pair : end) = middle;
    }
    const int blocks = own_blocks(pair), mine = block - first_block(pair);
    if (mine >= blocks) return {0, 0};
    const std::int32_t tiles = prefix_[pair + 1] - prefix_[pair], each = tiles / blocks;
    const std::int32_t over = tiles - each * blocks;
    const std::int32_t begin = prefix_[pair] + mine * each + min(mine, over);
    return {begin, begin + each + (mine < over ? 1 : 0)};
  }
  /// The pair has tiles.
  __device__ Span span(int pair) const {
    if (own_) return {first_block(pair), first_block(pair) + own_blocks(pair) - 1};
    return {block_of(prefix_[pair]), block_of(prefix_[pair + 1] - 1)};
  }
  /// Where a block keeps its partial result of a pair: the first of its pairs, or the last.
  __device__ std::size_t slot(int block, int pair) const {
    const bool later = !own_ && first_tile(block) < prefix_[pair];
    return 2 * static_cast<std::size_t>(block) + later;
  }
  __device__ int pair_of(std::int32_t tile) const {
    int low = 0, high = pairs_;  // the last pair whose prefix is <= tile, and which is not empty
#pragma unroll 1
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (prefix_[middle] <= tile ? low : high) = middle;
    }
    return low;
  }

 private:
  __device__ std::int32_t first_tile(int block) const { return block * each_ + min(block, over_); }
  __device__ int block_of(std::int32_t tile) const {
    const std::int32_t large = over_ * (each_ + 1);
    return tile < large ? tile / (each_ + 1) : over_ + (tile - large) / each_;
  }
  /// own_: one block each, the others by share of the tiles, in an order that rounding keeps.
  __device__ int first_block(int pair) const {
    if (pair == pairs_) return blocks_;
    return pair +
           min(static_cast<int>(static_cast<float>(prefix_[pair]) * spare_per_tile_), spare_);
  }
  __device__ int own_blocks(int pair) const {
    return min(first_block(pair + 1) - first_block(pair), prefix_[pair + 1] - prefix_[pair]);
  }

  std::int32_t* prefix_;
  std::int32_t total_, each_, over_;  ///< tiles: of all, of a block, blocks that have one more
  int pairs_, blocks_, spare_;
  float spare_per_tile_;
  bool own_;  ///< no block serves two pairs
};

}  // namespace doublep::cuda
