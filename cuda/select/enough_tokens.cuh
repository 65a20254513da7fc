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
  r.for_fours([&](int i) {
    std::uint32_t keys[4], sizes[4];
    r.read_keys(i, keys), r.read_sizes(i, sizes);
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (sizes[j] > 0 && (above == 32 || keys[j] >> above == old.prefix))
        atomicAdd(&s.tokens[keys[j] >> shift & (kDigits - 1)], sizes[j]);
  });
  __syncthreads();
  const int t = threadIdx.x;
  if (t < kDigits && s.tokens[t] > 0) atomicAdd(Team::of(s.all, 0) + t, s.tokens[t]);
  Team::sync();
  const std::uint32_t tokens = t < kDigits ? Team::of(s.all, 0)[t] : 0;
  std::uint32_t total;
  const std::uint32_t at = old.below + scan_block(tokens, s.scratch, &total);
  if (at < target && at + tokens >= target)
    s.place = {(above < 32 ? old.prefix << bits : 0u) | static_cast<std::uint32_t>(t),
               static_cast<std::uint32_t>(shift), at};
  __syncthreads();
}

/// Every block lists its items of the place, as far as there is `room`, and counts the runs of
/// those before it. Returns what all blocks have of both, block by block, a lane each. note(key, i,
/// at): item i stands at a place of the list.
template <class Note>
__device__ inline uint2 list_place(const Ranked& r, std::uint32_t room, Note note) {
  RankShared& s = r.s;
  const Place place = s.place;
  std::uint32_t runs = 0;
  r.for_fours([&](int first) {
    std::uint32_t keys[4], sizes[4], within = 0;
    r.read_keys(first, keys), r.read_sizes(first, sizes);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::uint32_t prefix = keys[j] >> place.shift;
      if (prefix < place.prefix) runs += Ranked::runs_of(sizes[j]);
      if (prefix == place.prefix && sizes[j] > 0) within |= 1u << j;
    }
#pragma unroll 1
    for (; within != 0; within &= within - 1) {
      const int i = first + __ffs(within) - 1;
      const std::uint32_t key = r.keys[i], at = atomicAdd(&s.listed.x, 1u);
      if (at >= room) continue;
      s.list[at] = {static_cast<std::uint64_t>(key) << 32 | static_cast<std::uint32_t>(r.begin + i),
                    r.size(i)};
      note(key, i, at);
    }
  });
  runs = __reduce_add_sync(~0u, runs);
  if (threadIdx.x % 32 == 0 && runs > 0) atomicAdd(&s.listed.y, runs);
  Team::sync();
  const int lane = threadIdx.x % 32;
  return lane < Team::size() ? *Team::of(&s.listed, lane) : make_uint2(0, 0);
}

/// Every block gathers all lists, and in s.runs_taken the runs that lower blocks have before the
/// place. also(block, first, count): a warp has gathered `count` items of a block from `first` on.
template <class Also>
__device__ inline void gather_lists(const Ranked& r, uint2 listed, Also also) {
  RankShared& s = r.s;
  const int lane = threadIdx.x % 32;
#pragma unroll 1
  for (int block = threadIdx.x / 32; block < Team::size(); block += block_threads() / 32) {
    const std::uint32_t first = __reduce_add_sync(~0u, lane < block ? listed.x : 0),
                        count = __shfl_sync(~0u, listed.x, block);
    const Listed* theirs = Team::of(s.list, block);
#pragma unroll 1
    for (std::uint32_t i = lane; i < count; i += 32) s.gathered[first + i] = theirs[i];
    also(block, first, count);
  }
  const std::uint32_t lower_runs = __reduce_add_sync(~0u, lane < Team::rank() ? listed.y : 0);
  if (threadIdx.x == 0) atomicAdd(&s.runs_taken, lower_runs);
  __syncthreads();
}

/// The items of the place are few, `total`: every block holds each item against every other one,
/// four threads an item. Leaves s.limit and s.runs_taken.
__device__ inline void settle_list(const Ranked& r, std::uint32_t target, uint2 listed,
                                   std::uint32_t total) {
  RankShared& s = r.s;
  const int lane = threadIdx.x % 32, part = lane % 4;
  gather_lists(r, listed, [](int, std::uint32_t, std::uint32_t) {});
  const std::uint32_t below = s.place.below;
#pragma unroll 1
  for (std::uint32_t base = threadIdx.x / 32 * 8; base < total; base += block_threads() / 4) {
    const std::uint32_t mine = min(base + lane / 4, total - 1);
    const Listed item = s.gathered[mine];
    std::uint32_t before = 0;
#pragma unroll 4
    for (std::uint32_t k = part; k < total; k += 4)
      before += s.gathered[k].item < item.item ? s.gathered[k].tokens : 0;
    before += __shfl_xor_sync(~0u, before, 1);
    before += below + __shfl_xor_sync(~0u, before, 2);
    if (part != 0 || base + lane / 4 >= total || before >= target) continue;
    const auto id = static_cast<std::uint32_t>(item.item);
    if (id < static_cast<std::uint32_t>(r.begin))  // a lower block's
      atomicAdd(&s.runs_taken, Ranked::runs_of(item.tokens));
    if (before + item.tokens >= target)
      s.limit = {static_cast<std::uint32_t>(item.item >> 32), id + 1};
  }
  __syncthreads();
}

/// Sums `mine` over the blocks before this one, each of which has it in its `shared`; all threads.
template <class T>
__device__ inline T before_me(T& shared, T mine) {
  if (threadIdx.x == 0) shared = mine;
  Team::sync();
  T sum = 0;
#pragma unroll 1
  for (int block = 0; block < Team::rank(); ++block) sum += *Team::of(&shared, block);
  Team::sync();
  __syncthreads();  // tools that look for races do not count the team's meetings
  return sum;
}

/// Runs of lower blocks' items that come before s.limit.
__device__ inline std::uint32_t runs_below(const Ranked& r) {
  RankShared& s = r.s;
  std::uint32_t mine = 0, total;
  r.for_items([&](std::uint32_t key, int i) {
    if (s.limit.takes(key, static_cast<std::uint32_t>(r.begin + i))) mine += r.runs(i);
  });
  scan_block(mine, s.scratch, &total);
  return before_me(s.count, total);
}

/// Too many items of one and the same key to list: by id, which is the order that they stand in.
/// Returns the runs of lower blocks.
__device__ __noinline__ inline std::uint32_t settle_ties(const Ranked r, std::uint32_t target) {
  RankShared& s = r.s;
  const std::uint32_t key = s.place.prefix;
  const auto tied = [&](int i) { return i < r.count && r.keys[i] == key ? r.size(i) : 0u; };
  std::uint32_t mine = 0, total, these;
  for (int i = threadIdx.x; i < r.count; i += block_threads()) mine += tied(i);
  scan_block(mine, s.scratch, &total);
  std::uint32_t at = s.place.below + before_me(s.count, total);
  for (int base = 0; base < r.count; base += block_threads()) {
    const int i = base + threadIdx.x;
    const std::uint32_t tokens = tied(i), before = at + scan_block(tokens, s.scratch, &these);
    if (before < target && before + tokens >= target)
      for (int block = 0; block < Team::size(); ++block)
        *Team::of(&s.limit, block) = {key, static_cast<std::uint32_t>(r.begin + i) + 1};
    at += these;
    __syncthreads();  // the scratch has been read
  }
  Team::sync();
  return runs_below(r);
}

/// Leaves s.limit: what comes before it is refined. Returns the runs of lower blocks' items.
__device__ inline std::uint32_t find_limit(const Ranked& r, std::uint32_t target) {
  RankShared& s = r.s;
#pragma unroll 1
  for (;;) {
    narrow(r, target);
    const uint2 listed = list_place(r, kFewest, [](std::uint32_t, int, std::uint32_t) {});
    const std::uint32_t total = __reduce_add_sync(~0u, listed.x);
    if (total <= kFewest) {
      settle_list(r, target, listed, total);
      return s.runs_taken;
    }
    if (s.place.shift == 0) return settle_ties(r, target);
    Team::sync();  // all have read sums and counts
    clear_histogram(s);
    Team::sync();
  }
}

}  // namespace doublep::cuda
