// From thresholds to the work lists of a pair: the union over its query heads, with a mask per
// item.
#pragma once

#include "cuda/select/select.h"
#include "cuda/select/threshold_search.cuh"

namespace doublep::cuda {

inline constexpr int kItemsEach = 4;

/// Sinks and tail first: they are attended by every head. Returns how many entries they took.
__device__ inline int emit_zone(const SelectParams& p, int pair) {
  if (!p.sink_end) return 0;
  const int b = pair / p.shape.kv_heads;
  const int sink = p.sink_end[b], tail_begin = p.tail_begin[b], tail = p.lengths[b] - tail_begin;
  const std::uint32_t all = (1u << p.shape.group) - 1;
  if (p.emit == EmitKind::kTokens) {
    for (int i = threadIdx.x; i < sink + tail; i += kSelectThreads) {
      const std::uint32_t row = i < sink ? i : tail_begin + i - sink;
      p.tokens[pair * p.work_capacity + i] = row | all << kIdBits;
    }
    return sink + tail;
  }
  const int sink_runs = (sink + kTile - 1) / kTile, tail_runs = (tail + kTile - 1) / kTile;
  for (int i = threadIdx.x; i < sink_runs + tail_runs; i += kSelectThreads) {
    const bool first = i < sink_runs;
    const int at = (first ? i : i - sink_runs) * kTile;
    const std::uint32_t count = min(kTile, (first ? sink : tail) - at);
    p.runs[pair * p.work_capacity + i] = {static_cast<std::uint32_t>(first ? at : tail_begin + at),
                                          count | all << 8};
  }
  return sink_runs + tail_runs;
}

/// Masks of the heads that refine, and that only keep, item i.
struct ItemMasks {
  std::uint32_t exact = 0, term = 0;
};

__device__ inline ItemMasks item_masks(const SelectParams& p, const Threshold* thresholds, int pair,
                                       int i) {
  const std::uint32_t all = (1u << p.shape.group) - 1;
  ItemMasks m;
  std::uint32_t kept = 0, present = 0;
  const bool summed = p.group_mode == GroupMode::kSum;
  for (int h = 0; h < (summed ? 1 : p.shape.group); ++h) {
    const float v =
        summed ? p.group_logits[pair * p.capacity + i]
               : p.logits[(static_cast<std::int64_t>(pair) * p.shape.group + h) * p.capacity + i];
    const std::uint64_t key = item_key(thresholds[h].max, v, i);
    const std::uint32_t bit = v == -INFINITY ? 0u : 1u << h;
    present |= bit;
    if (key < thresholds[h].refine) m.exact |= bit;
    if (key < thresholds[h].keep) kept |= bit;
  }
  if (p.group_mode != GroupMode::kPerHead) {
    m.exact = m.exact ? all : 0, kept = kept ? all : 0, present = present ? all : 0;
  }
  if (p.emit_terms) m.term = (p.outside_terms ? present : kept) & ~m.exact;
  return m;
}

/// All threads of one block. Entries stand in ascending order of their items.
__device__ inline void emit_work(const SelectParams& p, int pair, int n) {
  __shared__ Threshold thresholds[kMaxGroup];
  __shared__ std::uint64_t scratch[SelectOps::kWarps + 1];
  if (static_cast<int>(threadIdx.x) < p.shape.group)
    thresholds[threadIdx.x] = p.thresholds[pair * p.shape.group + threadIdx.x];
  __syncthreads();
  const std::int32_t* offsets = p.offsets ? p.offsets + pair * (p.capacity + 1) : nullptr;
  std::int64_t work = pair * p.work_capacity + emit_zone(p, pair);
  std::int64_t terms = pair * p.capacity;
  for (int base = 0; base < n; base += kSelectThreads * kItemsEach) {
    const int first = base + threadIdx.x * kItemsEach;
    ItemMasks masks[kItemsEach];
    std::uint64_t found = 0;  // runs or tokens in the high half, terms in the low one
#pragma unroll
    for (int j = 0; j < kItemsEach; ++j) {
      const int i = first + j;
      if (i < n) masks[j] = item_masks(p, thresholds, pair, i);
      if (masks[j].exact) {
        const int rows = p.emit == EmitKind::kRuns ? offsets[i + 1] - offsets[i] : 1;
        found += static_cast<std::uint64_t>((rows + kTile - 1) / kTile) << 32;
      }
      found += masks[j].term != 0;
    }
    std::uint64_t total;
    const std::uint64_t before = SelectOps::exclusive_scan(found, scratch, &total);
    std::int64_t at = work + static_cast<std::int64_t>(before >> 32);
    std::int64_t term_at = terms + static_cast<std::int64_t>(before & 0xFFFFFFFFu);
#pragma unroll
    for (int j = 0; j < kItemsEach; ++j) {
      const int i = first + j;
      if (masks[j].exact && p.emit == EmitKind::kTokens)
        p.tokens[at++] = p.item_rows[pair * p.capacity + i] | masks[j].exact << kIdBits;
      else if (masks[j].exact)
        for (int row = offsets[i]; row < offsets[i + 1]; row += kTile)
          p.runs[at++] = {
              static_cast<std::uint32_t>(row),
              static_cast<std::uint32_t>(min(kTile, offsets[i + 1] - row)) | masks[j].exact << 8};
      if (masks[j].term)
        p.terms[term_at++] = static_cast<std::uint32_t>(i) | masks[j].term << kIdBits;
    }
    work += static_cast<std::int64_t>(total >> 32);
    terms += static_cast<std::int64_t>(total & 0xFFFFFFFFu);
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    p.num_work[pair] = static_cast<std::int32_t>(work - pair * p.work_capacity);
    if (p.num_terms) p.num_terms[pair] = static_cast<std::int32_t>(terms - pair * p.capacity);
  }
}

}  // namespace doublep::cuda
