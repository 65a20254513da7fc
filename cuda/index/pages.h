// Summaries that token-level rivals read instead of the keys: per-page extremes (Quest, arXiv
// 2406.10774) and 4-bit keys (Twilight, arXiv 2502.02770).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/common/types.h"

namespace doublep::cuda {

/// Page i summarises the rows [i page_size, (i + 1) page_size), the last one as far as `rows`
/// reaches.
struct PageParams {
  DType dtype = DType::kBf16;
  int pairs = 0, head_dim = 0;
  const void* keys = nullptr;  ///< [pairs, capacity, head_dim]
  std::int64_t capacity = 0;
  std::int32_t rows = 0;           ///< visible rows
  std::int32_t page_size = kTile;  ///< rows of a page
  /// Extremes of the pages [first_page, num_pages); those before stand from an earlier call.
  std::int32_t first_page = 0, num_pages = 0;
  /// What is attended in any case is no part of a page's work: offsets[i] is i page_size clamped to
  /// [sink_end, tail_begin], so that no row stands in two runs. Extremes are of the whole page.
  std::int32_t sink_end = 0, tail_begin = 0;
  void* highs = nullptr;            ///< [pairs, page_capacity, head_dim]: largest per dimension
  void* lows = nullptr;             ///< same, smallest
  std::int32_t* offsets = nullptr;  ///< [pairs, page_capacity + 1], rows
  std::int64_t page_capacity = 0;
};
void build_pages(const PageParams& params, cudaStream_t stream);

/// A key is low + step * code, codes 0 to 15, as core's QuantisedKeys of 4 bits rounds them.
/// Dimensions 2 i and 2 i + 1 share byte i.
struct NibbleScale {
  float low, step;
};
struct NibbleParams {
  DType dtype = DType::kBf16;
  int pairs = 0, head_dim = 0;
  const void* keys = nullptr;  ///< [pairs, capacity, head_dim]
  std::int64_t capacity = 0;
  std::int32_t first_row = 0, rows = 0;  ///< rows [first_row, rows) are quantised
  std::uint32_t* codes = nullptr;        ///< [pairs, capacity, head_dim / 8]
  NibbleScale* scales = nullptr;         ///< [pairs, capacity]
};
void build_nibbles(const NibbleParams& params, cudaStream_t stream);

/// q.k with 4-bit keys for the rows of a run list. Slot 16 r + i is row i of run r.
struct NibbleEstimateParams {
  Shape shape;
  DType dtype = DType::kBf16;
  float scale = 1;
  const void* queries = nullptr;         ///< [pairs * group, head_dim]
  const std::uint32_t* codes = nullptr;  ///< [pairs, capacity, head_dim / 8]
  const NibbleScale* scales = nullptr;   ///< [pairs, capacity]
  std::int64_t capacity = 0;
  const Run* runs = nullptr;               ///< [pairs, run_capacity]
  const std::int32_t* num_runs = nullptr;  ///< [pairs]
  std::int64_t run_capacity = 0;
  float* logits = nullptr;        ///< [pairs * group, slot_capacity]; -infinity: not this head's
  std::uint32_t* rows = nullptr;  ///< [pairs, slot_capacity]
  std::int32_t* num_slots = nullptr;  ///< [pairs]
  std::int64_t slot_capacity = 0;
};
void estimate_nibbles(const NibbleEstimateParams& params, cudaStream_t stream,
                      bool overlap = false);

}  // namespace doublep::cuda
