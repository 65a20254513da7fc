// From thresholds to the work lists of a pair: the union over its query heads, with a mask per
// item.
#pragma once

#include "cuda/select/select.h"
#include "cuda/select/threshold_search.cuh"

namespace doublep::cuda {

inline constexpr int kItemsEach = 8;  // contiguous items of a thread: one load of codes a head

/// What a head does with an item, one byte each.
inline constexpr std::uint32_t kRefined = 1, kKept = 2, kPresent = 4;

/// Turns limits into codes: [pairs * group, capacity].
__device__ inline void write_codes(const SelectParams& p, const SearchShared& s, const Items& items,
                                   const Ruler& ruler, int row) {
  const Limit refine = s.found[0].limit, keep = s.found[1].limit;
  std::uint8_t* out = p.codes + static_cast<std::int64_t>(row) * p.capacity;
#pragma unroll 2
  for (int i = threadIdx.x; i < items.n; i += block_threads()) {
    const std::uint32_t key = items.cached ? items.cached[i] : ruler.key(items.values[i]);
    out[i] = key == kAbsent ? 0
                            : kPresent | (refine.takes(key, i) ? kRefined : 0) |
                                  (keep.takes(key, i) ? kKept : 0);
  }
}

/// Asks for what emit_work will read and no launch of this step writes, while the launch before
/// still runs.
__device__ inline void prefetch_work(const SelectParams& p, int pair) {
  const auto fetch = [](const void* address) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
  };
  if (threadIdx.x == 0) {
    if (p.num_items) fetch(p.num_items + pair);
    if (p.budgets) fetch(p.budgets + pair);
    const int b = pair / p.shape.kv_heads;
    if (p.sink_end) fetch(p.sink_end + b), fetch(p.tail_begin + b), fetch(p.lengths + b);
  }
  if (!p.offsets) return;
  const int head = blockIdx.x % p.shape.group, lines = static_cast<int>(p.capacity / 32);
  for (int i = head * block_threads() + threadIdx.x; i < lines;
       i += p.shape.group * block_threads())
    fetch(p.offsets + pair * (p.capacity + 1) + 32 * static_cast<std::int64_t>(i));
}

/// Sinks and tail, which every head attends, and the entries that they take.
struct Zone {
  int sink = 0, tail = 0, tail_begin = 0;

  __device__ Zone(const SelectParams& p, int pair) {
    if (!p.sink_end) return;
    const int b = pair / p.shape.kv_heads;
    sink = p.sink_end[b], tail_begin = p.tail_begin[b], tail = p.lengths[b] - tail_begin;
  }
  __device__ static int runs(int rows) { return (rows + kTile - 1) / kTile; }
  __device__ int entries(EmitKind emit) const {
    return emit == EmitKind::kTokens ? sink + tail : runs(sink) + runs(tail);
  }
};

__device__ inline void emit_zone(const SelectParams& p, int pair, const Zone& z) {
  const std::uint32_t all = (1u << p.shape.group) - 1;
  for (int i = threadIdx.x; i < z.entries(p.emit); i += block_threads()) {
    const bool tokens = p.emit == EmitKind::kTokens;
    const int sinks = tokens ? z.sink : Zone::runs(z.sink);
    const int at = (i < sinks ? i : i - sinks) * (tokens ? 1 : kTile);
    const std::uint32_t row = i < sinks ? at : z.tail_begin + at;
    if (tokens)
      p.tokens[pair * p.work_capacity + i] = row | all << kIdBits;
    else
      p.runs[pair * p.work_capacity + i] = {
          row,
          static_cast<std::uint32_t>(min(kTile, (i < sinks ? z.sink : z.tail) - at)) | all << 8};
  }
}

/// All threads of one block. Entries stand in ascending order of their items.
__device__ inline void emit_work(const SelectParams& p, int pair, int n) {
  __shared__ std::uint64_t scratch[BlockOps::kScratch];
  const bool summed = p.group_mode == GroupMode::kSum,
             per_head = p.group_mode == GroupMode::kPerHead;
  const std::uint32_t all = (1u << p.shape.group) - 1;
  const std::uint8_t* codes =
      p.codes + static_cast<std::int64_t>(pair) * p.shape.group * p.capacity;
  const std::int32_t* offsets = p.offsets ? p.offsets + pair * (p.capacity + 1) : nullptr;
  const Zone zone(p, pair);
  std::int64_t work = pair * p.work_capacity + zone.entries(p.emit);
  std::int64_t terms = pair * p.capacity;
  for (int base = 0; base < n; base += block_threads() * kItemsEach) {
    const int first = base + threadIdx.x * kItemsEach;
    // Bit h of byte j: head h refines (keeps, has) item first + j.
    uint2 refined = {0, 0}, kept = {0, 0}, present = {0, 0};
#pragma unroll
    for (int h = 0; h < kMaxGroup; ++h) {
      if (first >= n || h >= (summed ? 1 : p.shape.group)) continue;
      const uint2 word = __ldcg(reinterpret_cast<const uint2*>(codes + h * p.capacity + first));
      constexpr std::uint32_t kOnes = 0x01010101u;
      refined.x |= (word.x & kOnes) << h, refined.y |= (word.y & kOnes) << h;
      kept.x |= (word.x >> 1 & kOnes) << h, kept.y |= (word.y >> 1 & kOnes) << h;
      present.x |= (word.x >> 2 & kOnes) << h, present.y |= (word.y >> 2 & kOnes) << h;
    }
    std::int32_t rows[kItemsEach + 1] = {};
    if (p.emit == EmitKind::kRuns) {
#pragma unroll
      for (int j = 0; j <= kItemsEach; ++j) rows[j] = offsets[min(first + j, n)];
    }
    const uint2 candidates = p.outside_terms ? present : kept;
    std::uint32_t exact[kItemsEach], term[kItemsEach];
    std::uint64_t found = 0;  // runs or tokens in the high half, terms in the low one
#pragma unroll
    for (int j = 0; j < kItemsEach; ++j) {
      const auto mask = [&](const uint2& v) {
        const std::uint32_t m = first + j < n ? (j < 4 ? v.x : v.y) >> (8 * (j % 4)) & 0xFF : 0;
        return per_head || m == 0 ? m : all;
      };
      exact[j] = mask(refined);
      term[j] = p.emit_terms ? mask(candidates) & ~exact[j] : 0;
      if (exact[j])
        found += static_cast<std::uint64_t>(
                     p.emit == EmitKind::kRuns ? Zone::runs(rows[j + 1] - rows[j]) : 1)
                 << 32;
      found += term[j] != 0;
    }
    std::uint64_t total;
    const std::uint64_t before = BlockOps::exclusive_scan(found, scratch, &total);
    std::int64_t at = work + static_cast<std::int64_t>(before >> 32);
    std::int64_t term_at = terms + static_cast<std::int64_t>(before & 0xFFFFFFFFu);
#pragma unroll
    for (int j = 0; j < kItemsEach; ++j) {
      if (exact[j] && p.emit == EmitKind::kTokens)
        p.tokens[at++] = p.item_rows[pair * p.capacity + first + j] | exact[j] << kIdBits;
      else if (exact[j])
        for (int row = rows[j]; row < rows[j + 1]; row += kTile)
          p.runs[at++] = {
              static_cast<std::uint32_t>(row),
              static_cast<std::uint32_t>(min(kTile, rows[j + 1] - row)) | exact[j] << 8};
      if (term[j]) p.terms[term_at++] = static_cast<std::uint32_t>(first + j) | term[j] << kIdBits;
    }
    work += static_cast<std::int64_t>(total >> 32);
    terms += static_cast<std::int64_t>(total & 0xFFFFFFFFu);
  }
  emit_zone(p, pair, zone);
  if (threadIdx.x == 0) {
    p.num_work[pair] = static_cast<std::int32_t>(work - pair * p.work_capacity);
    if (p.num_terms) p.num_terms[pair] = static_cast<std::int32_t>(terms - pair * p.capacity);
  }
}

}  // namespace doublep::cuda
