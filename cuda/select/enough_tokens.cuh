// Where a descending order of items has as many tokens as are wanted: a histogram of tokens over
// the leading digit of the keys, and then the few items of the digit that the target falls into,
// held against each other.
#pragma once

#include "cuda/select/rank_items.cuh"

namespace doublep::cuda {

/// Narrows the place by a digit: a histogram of each block, their sum in the first one, which all
/// read. `target`: tokens wanted, at least 1 and no more than there are.
__device__ inline void narrow(const Ranked& r, std::uint32_t target) {
  RankShared& s = r.s;
  const Place old = s.place;
  const int above = static_cast<int>(old.shift), bits = min(above, kDigitBits),
            shift = above - bits;
  r.for_items([&](std::uint32_t key, int i) {
    if (above < 32 && key >> above != old.prefix) return;
    const std::uint32_t digit = key >> shift & (kDigits - 1);
    atomicAdd(&s.tokens[digit], r.size(i)), atomicAdd(&s.items[digit], 1u);
  });
  __syncthreads();
  const int t = threadIdx.x;
  if (t < kDigits && s.items[t] > 0)
    atomicAdd(Team::of(s.all, 0) + t, static_cast<Mass>(s.items[t]) << 32 | s.tokens[t]);
  Team::sync();
  const Mass mine = t < kDigits ? Team::of(s.all, 0)[t] : 0, tokens = mine & 0xFFFFFFFFu;
  Mass total;
  const Mass at = old.below + scan_block(tokens, s.scratch, &total);
  if (at < target && at + tokens >= target)
    s.place = {(above < 32 ? old.prefix << bits : 0u) | static_cast<std::uint32_t>(t),
               static_cast<std::uint32_t>(shift), static_cast<std::uint32_t>(at),
               static_cast<std::uint32_t>(mine >> 32)};
  __syncthreads();
}

/// The items of the place are few: every block lists its own, gathers all, and holds each against
/// every other one. Leaves s.limit and s.runs_taken.
__device__ inline void settle_list(const Ranked& r, std::uint32_t target) {
  RankShared& s = r.s;
  const Place place = s.place;
  std::uint32_t runs = 0;
  r.for_items([&](std::uint32_t key, int i) {
    const std::uint32_t prefix = key >> place.shift;
    if (prefix < place.prefix) runs += r.runs(i);
    if (prefix == place.prefix)
      s.list[atomicAdd(&s.listed.x, 1u)] = {
          static_cast<std::uint64_t>(key) << 32 | static_cast<std::uint32_t>(r.begin + i),
          r.size(i)};
  });
  runs = __reduce_add_sync(~0u, runs);
  if (threadIdx.x % 32 == 0 && runs > 0) atomicAdd(&s.listed.y, runs);
  Team::sync();
  // This thread's entry of all lists, one after the other.
  const int lane = threadIdx.x % 32;
  const uint2 theirs = lane < Team::size() ? *Team::of(&s.listed, lane) : make_uint2(0, 0);
  const std::uint32_t mine = threadIdx.x;
  std::uint32_t first = 0, lower_runs = 0;
  int owner = -1;
#pragma unroll 1
  for (int block = 0; block < Team::size(); ++block) {
    const std::uint32_t end = first + __shfl_sync(~0u, theirs.x, block);
    if (block < Team::rank()) lower_runs += __shfl_sync(~0u, theirs.y, block);
    if (mine >= first && mine < end) {
      owner = block;
      s.gathered[mine] = Team::of(s.list, block)[mine - first];
    }
    first = end;
  }
  if (threadIdx.x == 0) atomicAdd(&s.runs_taken, lower_runs);
  __syncthreads();
  if (mine < first) {
    const Listed item = s.gathered[mine];
    std::uint32_t before = place.below;
#pragma unroll 4
    for (std::uint32_t k = 0; k < first; ++k)
      before += s.gathered[k].item < item.item ? s.gathered[k].tokens : 0;
    if (before < target && owner < Team::rank())
      atomicAdd(&s.runs_taken,
                static_cast<std::uint32_t>(Zone::runs(static_cast<int>(item.tokens))));
    if (before < target && before + item.tokens >= target)
      s.limit = {static_cast<std::uint32_t>(item.item >> 32),
                 static_cast<std::uint32_t>(item.item) + 1};
  }
  __syncthreads();
}

/// Sums `mine` over the blocks before this one; all threads.
__device__ inline std::uint32_t before_me(const Ranked& r, std::uint32_t mine) {
  if (threadIdx.x == 0) r.s.count = mine;
  Team::sync();
  std::uint32_t sum = 0;
#pragma unroll 1
  for (int block = 0; block < Team::rank(); ++block) sum += *Team::of(&r.s.count, block);
  Team::sync();
  return sum;
}

/// Too many items of one and the same key to list: by id, which is the order that they stand in.
/// Returns the runs of lower blocks.
__device__ __noinline__ inline std::uint32_t settle_ties(const Ranked r, std::uint32_t target) {
  RankShared& s = r.s;
  const std::uint32_t key = s.place.prefix;
  const auto tied = [&](int i) -> Mass {
    return i < r.count && key_of(r.scores[i]) == key ? r.size(i) : 0;
  };
  Mass mine = 0, total, these;
  for (int i = threadIdx.x; i < r.count; i += block_threads()) mine += tied(i);
  scan_block(mine, s.scratch, &total);
  Mass at = s.place.below + before_me(r, static_cast<std::uint32_t>(total));
  for (int base = 0; base < r.count; base += block_threads()) {
    const int i = base + threadIdx.x;
    const Mass tokens = tied(i), before = at + scan_block(tokens, s.scratch, &these);
    if (before < target && before + tokens >= target)
      for (int block = 0; block < Team::size(); ++block)
        *Team::of(&s.limit, block) = {key, static_cast<std::uint32_t>(r.begin + i) + 1};
    at += these;
  }
  Team::sync();
  mine = 0;
  r.for_items([&](std::uint32_t k, int i) {
    if (s.limit.takes(k, static_cast<std::uint32_t>(r.begin + i))) mine += r.runs(i);
  });
  scan_block(mine, s.scratch, &total);
  return before_me(r, static_cast<std::uint32_t>(total));
}

/// Leaves s.limit: what comes before it is refined. Returns the runs of lower blocks' items.
__device__ inline std::uint32_t find_limit(const Ranked& r, std::uint32_t target) {
  RankShared& s = r.s;
#pragma unroll 1
  for (;;) {
    narrow(r, target);
    if (s.place.items <= kFewest) break;
    if (s.place.shift == 0) return settle_ties(r, target);
    Team::sync();  // all have read the sum
    clear_histogram(s);
    Team::sync();
  }
  settle_list(r, target);
  return s.runs_taken;
}

}  // namespace doublep::cuda
