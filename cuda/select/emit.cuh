// From thresholds to the work lists of a pair: the union over its query heads, with a mask per
// item.
#pragma once

#include "cuda/select/select.h"
#include "cuda/select/threshold_search.cuh"

namespace doublep::cuda {

inline constexpr int kItemsEach = 4;  // contiguous items of a thread: one load of codes a head

/// What a head does with an item, one byte each.
inline constexpr std::uint32_t kRefined = 1, kKept = 2, kPresent = 4;

/// Turns limits into codes: [pairs * group, capacity].
__device__ inline void write_codes(const SelectParams& p, const SearchShared& s, const Items& items,
                                   const Ruler& ruler, int row) {
  const Limit refine = s.found[0].limit, keep = s.found[1].limit;
  auto* out =
      reinterpret_cast<std::uint32_t*>(p.codes + static_cast<std::int64_t>(row) * p.capacity);
  const auto code = [&](std::uint32_t key, std::uint32_t id) -> std::uint32_t {
    return key == kAbsent ? 0
                          : kPresent | (refine.takes(key, id) ? kRefined : 0) |
                                (keep.takes(key, id) ? kKept : 0);
  };
#pragma unroll 1
  for (int i = 4 * threadIdx.x; i < items.n; i += 4 * block_threads()) {
    const uint4 k = items.four(ruler, i);
    out[i / 4] =
        code(k.x, i) | code(k.y, i + 1) << 8 | code(k.z, i + 2) << 16 | code(k.w, i + 3) << 24;
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

/// Rows [begin, end) as runs, for every lane its own; returns how many. A warp writes the runs of a
/// large cluster together: one thread alone would keep the whole step waiting. All lanes call.
__device__ inline int write_runs(Run* out, std::int32_t begin, std::int32_t end,
                                 std::uint32_t mask) {
  const auto run = [](std::int32_t row, std::int32_t last, std::uint32_t heads) -> Run {
    return {static_cast<std::uint32_t>(row),
            static_cast<std::uint32_t>(min(kTile, last - row)) | heads << 8};
  };
  const int count = Zone::runs(end - begin), lane = threadIdx.x % 32;
  if (count > 0 && count <= 2) out[0] = run(begin, end, mask);
  if (count == 2) out[1] = run(begin + kTile, end, mask);
  for (std::uint32_t large = __ballot_sync(~0u, count > 2); large != 0; large &= large - 1) {
    const int from = __ffs(large) - 1;
    const std::int32_t first = __shfl_sync(~0u, begin, from), last = __shfl_sync(~0u, end, from);
    const std::uint32_t heads = __shfl_sync(~0u, mask, from);
    Run* to =
        reinterpret_cast<Run*>(__shfl_sync(~0u, reinterpret_cast<unsigned long long>(out), from));
    for (std::int32_t row = first + kTile * lane; row < last; row += 32 * kTile)
      to[(row - first) / kTile] = run(row, last, heads);
  }
  return count;
}

/// All threads of one block. Entries stand in ascending order of their items.
__device__ inline void emit_work(const SelectParams& p, int pair, int n) {
  __shared__ Mass scratch[BlockOps::kScratch];
  const bool per_head = p.group_mode == GroupMode::kPerHead, runs = p.emit == EmitKind::kRuns;
  const int lists = p.group_mode == GroupMode::kSum ? 1 : p.shape.group;
  const std::uint32_t all = (1u << p.shape.group) - 1;
  const std::uint8_t* codes =
      p.codes + static_cast<std::int64_t>(pair) * p.shape.group * p.capacity;
  const std::int32_t* offsets = p.offsets ? p.offsets + pair * (p.capacity + 1) : nullptr;
  const Zone zone(p, pair);
  const int forced = p.zone_among_items ? kTile * zone.entries(EmitKind::kRuns) : 0;
  std::int64_t work = pair * p.work_capacity + (p.zone_among_items ? 0 : zone.entries(p.emit));
  std::int64_t terms = pair * p.capacity;
#pragma unroll 1
  for (int base = 0; base < n; base += block_threads() * kItemsEach) {
    const int first = base + threadIdx.x * kItemsEach;
    // Bit h of byte j: head h refines (keeps, has) item first + j.
    std::uint32_t refined = 0, kept = 0, present = 0, words[kMaxGroup];
#pragma unroll
    for (int h = 0; h < kMaxGroup; ++h)
      words[h] =
          first < n && h < lists
              ? __ldcg(reinterpret_cast<const std::uint32_t*>(codes + h * p.capacity + first))
              : 0;
#pragma unroll
    for (int h = 0; h < kMaxGroup; ++h) {
      constexpr std::uint32_t kOnes = 0x01010101u;
      refined |= (words[h] & kOnes) << h, kept |= (words[h] >> 1 & kOnes) << h;
      present |= (words[h] >> 2 & kOnes) << h;
    }
    const std::uint32_t candidates = p.outside_terms ? present : kept;
    // Of item first + j: heads that attend it exactly, and those with it as a term.
    const auto mask = [&](std::uint32_t bits, int j) {
      const std::uint32_t m = first + j < n ? bits >> (8 * j) & 0xFF : 0;
      return per_head || m == 0 ? m : all;
    };
    const auto taken = [&](int j) { return mask(first + j < forced ? present : refined, j); };
    const auto term = [&](int j) { return p.emit_terms ? mask(candidates, j) & ~taken(j) : 0; };
    Mass found = 0;  // runs or tokens in the high half, terms in the low one
#pragma unroll
    for (int j = 0; j < kItemsEach; ++j) {
      const int rows = runs && first + j < n ? offsets[first + j + 1] - offsets[first + j] : 1;
      if (taken(j)) found += static_cast<Mass>(runs ? Zone::runs(rows) : 1) << 32;
      found += term(j) != 0;
    }
    Mass total;
    const Mass before = BlockOps::exclusive_scan(found, scratch, &total);
    std::int64_t at = work + static_cast<std::int64_t>(before >> 32);
    std::int64_t term_at = terms + static_cast<std::int64_t>(before & 0xFFFFFFFFu);
#pragma unroll 1  // short code: fetching it costs more than running it
    for (int j = 0; j < kItemsEach; ++j) {
      const std::uint32_t exact = taken(j), estimated = term(j);
      if (runs)
        at += write_runs(p.runs + at, exact ? offsets[first + j] : 0,
                         exact ? offsets[first + j + 1] : 0, exact);
      else if (exact)
        p.tokens[at++] = p.item_rows[pair * p.capacity + first + j] | exact << kIdBits;
      if (estimated)
        p.terms[term_at++] = static_cast<std::uint32_t>(first + j) | estimated << kIdBits;
    }
    work += static_cast<std::int64_t>(total >> 32);
    terms += static_cast<std::int64_t>(total & 0xFFFFFFFFu);
  }
  if (!p.zone_among_items) emit_zone(p, pair, zone);
  if (threadIdx.x == 0) {
    p.num_work[pair] = static_cast<std::int32_t>(work - pair * p.work_capacity);
    if (p.num_terms) p.num_terms[pair] = static_cast<std::int32_t>(terms - pair * p.capacity);
  }
}

}  // namespace doublep::cuda
