// Where a descending order of items leaves every head of a group an error that it allows: what
// enough_tokens.cuh is for tokens, with a sum for every head. What an item errs by is a whole
// number of 2^-40 of the squared error that the head allows, so that no sum depends on the order of
// the atomics: with 2^18 items rounding takes or adds 2^-23 of it at most. What counts is the
// rounding of log masses and logarithms in float32, as for scores.
#pragma once

#include "cuda/select/block_scan.cuh"
#include "cuda/select/enough_tokens.cuh"
#include "cuda/select/score_items.cuh"

namespace doublep::cuda {

inline constexpr Mass kAllowed = 1ull << 40;      // the squared error that a head may leave
inline constexpr std::uint32_t kForced = 0;       // a key that no score has: refined in any case
inline constexpr std::uint32_t kFewErrors = 128;  // items that are settled one by one
static_assert(4 * kFewErrors <= kFewThreads);     // four threads an item
static_assert(kMaxGroup <= kFewThreads / 32);     // a warp a head

struct ErrorShared {
  /// Of a head that this block adds up: digit of the place that its limit lies in, or -1 where the
  /// head allows all that there is; what stands before that place, and the sum to be reached.
  struct Found {
    Mass before, target;
    int digit;
  } found[kMaxGroup];
  Mass before[kMaxGroup], target[kMaxGroup];  // of the heads in `open`
  Mass scratch[BlockOps::kScratch], count;
  float lifts[kMaxGroup];
  std::uint32_t open;               // heads whose limit lies in the place, a bit each
  std::uint32_t end;                // places of the list, or ids, before the limit
  std::uint8_t sorted[kFewErrors];  // places of the gathered list in the order of its items
};

/// A search under way. `sums`: shared, a histogram of errors for every head, [group, kDigits], low
/// and high words; where no histogram is needed any more, errors of listed items by head: of this
/// block's list, [kFewErrors, group], and of all that are gathered.
struct ErrorSearch {
  const Ranked& r;
  ErrorShared& e;
  uint2* sums;

  __device__ int group() const { return r.p.shape.group; }
  __device__ Mass* listed() const { return reinterpret_cast<Mass*>(sums); }
  __device__ Mass* gathered() const { return listed() + kFewErrors * group(); }
  __device__ bool open(int h) const { return e.open >> h & 1; }
};
constexpr std::int64_t error_bytes(int group) {
  return group * kDigits * static_cast<std::int64_t>(sizeof(uint2));
}
static_assert(2 * kFewErrors * sizeof(Mass) <= kDigits * sizeof(uint2));

/// What leaving an item as a term adds to a head's squared error, core's TermErrors::squared, in
/// units of what the head allows; at most twice that. `share`: log of the item's share of the
/// head's mass; `lift`: log of 1 / what is allowed, infinite where nothing is. One copy of its
/// code: every pass over the items must find the same number.
__device__ __noinline__ inline Mass error_of(float share, float logit_variance, float size,
                                             float lift) {
  const float one = __fdividef(1.f, size), variance = fminf(logit_variance, 300.f),
              spread = fminf(__expf(variance) * saturation(variance) * one, 1 - one);
  if (size < 2 || !(spread > 0)) return 0;
  if (lift == INFINITY) return 2 * share + __logf(spread) > kLowest ? 2 * kAllowed : 0;
  return __float2ull_rn(fminf(__expf(2 * share + lift) * spread, 2.f) *
                        static_cast<float>(kAllowed));
}
__device__ inline Mass error_of(const ErrorSearch& x, int h, int i) {
  const Ranked& r = x.r;
  return error_of(r.masses[h * r.mass_stride + i] - r.s.log_totals[h], r.variance(i) * r.s.forms[h],
                  static_cast<float>(r.size(i)), x.e.lifts[h]);
}

/// In two halves: shared memory adds 32 bits at once, 64 in a loop.
__device__ inline void add_error(uint2* to, Mass error) {
  const auto low = static_cast<std::uint32_t>(error);
  const std::uint32_t sum = atomicAdd(&to->x, low) + low,
                      high = static_cast<std::uint32_t>(error >> 32) + (sum < low ? 1 : 0);
  if (high > 0) atomicAdd(&to->y, high);
}

/// Before a histogram; all threads, and no other block reads what is here.
__device__ inline void clear_errors(const ErrorSearch& x) {
  for (int i = threadIdx.x; i < x.group() * kDigits; i += block_threads()) x.sums[i] = {0, 0};
  if (threadIdx.x == 0) x.r.s.listed = {0, 0};
}

/// As scan_block.
__device__ __noinline__ inline Mass scan_errors(Mass value, Mass* scratch, Mass* total) {
  return BlockOps::exclusive_scan(value, scratch, total);
}

/// Items of which a single token, so many standard deviations above the centroid, would move a head
/// by more than the error: core's tail_errors(). They come first, whatever their score.
__device__ inline void force_tails(const Ranked& r) {
  const SelectParams& p = r.p;
  const RankShared& s = r.s;
  const float log_error = logf(p.error);
  __syncthreads();  // whoever scored them
#pragma unroll 1
  for (int i = threadIdx.x; i < r.count && p.tail > 0; i += block_threads()) {
    if (r.size(i) == 0) continue;
    const float log_size = r.log_size(i), unit = r.variance(i);
    bool forced = false;
#pragma unroll 1
    for (int h = 0; h < p.shape.group && !forced; ++h) {
      const float variance = unit * s.forms[h], share = r.masses[h * r.mass_stride + i];
      const float excess =
          fminf(p.tail * quick_sqrt(variance) - log_mean_weight(variance, log_size), 300.f);
      // log of share / size * (exp(excess) - 1)
      forced = excess > 0 &&
               share - s.log_totals[h] - log_size + excess + __logf(saturation(excess)) > log_error;
    }
    if (forced) r.keys[i] = kForced;
  }
  __syncthreads();
}

/// Narrows the place by a digit: histograms of each block, and for every head a block that adds
/// them up and finds the digit its limit lies in. The place is the last of them, and the heads
/// whose limits lie before it need no more than it takes anyway.
__device__ inline void narrow_errors(const ErrorSearch& x) {
  const Ranked& r = x.r;
  ErrorShared& e = x.e;
  const Place old = r.s.place;
  const int above = static_cast<int>(old.shift), bits = min(above, kDigitBits),
            shift = above - bits, t = threadIdx.x;
  r.for_items([&](std::uint32_t key, int i) {
    if (key == kForced || (above < 32 && key >> above != old.prefix)) return;
    uint2* bin = x.sums + (key >> shift & (kDigits - 1));
#pragma unroll 1
    for (int h = 0; h < x.group(); ++h, bin += kDigits)
      if (const Mass error = x.open(h) ? error_of(x, h, i) : 0; error > 0) add_error(bin, error);
  });
  Team::sync();
#pragma unroll 1
  for (int h = Team::rank(); h < x.group(); h += Team::size()) {
    if (!x.open(h)) continue;
    Mass sum = 0, total;
#pragma unroll 1
    for (int block = 0; block < Team::size() && t < kDigits; ++block) {
      const uint2 words = *Team::of(x.sums + h * kDigits + t, block);
      sum += static_cast<Mass>(words.y) << 32 | words.x;
    }
    Mass at = scan_errors(sum, e.scratch, &total), target = e.target[h];
    if (above < 32)
      at += e.before[h];
    else
      target = total > kAllowed ? total - kAllowed : 0;
    if (at < target && at + sum >= target) e.found[h] = {at, target, t};
    if (target == 0 && t == 0) e.found[h] = {0, 0, -1};
  }
  Team::sync();
  if (t < 32) {
    const bool mine = t < x.group() && x.open(t);
    const ErrorShared::Found found =
        mine ? *Team::of(e.found + t, t % Team::size()) : ErrorShared::Found{0, 0, -1};
    const int digit = __reduce_max_sync(~0u, found.digit);
    const std::uint32_t open = __ballot_sync(~0u, found.digit >= 0 && found.digit == digit);
    if (open >> t & 1) e.before[t] = found.before, e.target[t] = found.target;
    if (t == 0) {
      e.open = open;
      r.s.place = {(above < 32 ? old.prefix << bits : 0u) | static_cast<std::uint32_t>(digit),
                   static_cast<std::uint32_t>(shift), 0};
    }
  }
  __syncthreads();
}

/// The items of the place are few, `total`: every block sorts them, and a warp adds up a head's
/// errors. Leaves s.limit and s.runs_taken.
__device__ inline void settle_errors(const ErrorSearch& x, uint2 listed, std::uint32_t total) {
  const Ranked& r = x.r;
  RankShared& s = r.s;
  ErrorShared& e = x.e;
  const int group = x.group(), lane = threadIdx.x % 32, h = threadIdx.x / 32;
  gather_lists(r, listed, [&](int block, std::uint32_t first, std::uint32_t count) {
    const Mass* theirs = Team::of(x.listed(), block);
#pragma unroll 1
    for (std::uint32_t i = lane; i < count * group; i += 32)
      x.gathered()[first * group + i] = theirs[i];
  });
  const std::uint32_t mine = threadIdx.x / 4;
  const Listed item = mine < total ? s.gathered[mine] : Listed{0, 0};
  std::uint32_t rank = 0;
#pragma unroll 4
  for (std::uint32_t k = lane % 4; k < total; k += 4) rank += s.gathered[k].item < item.item;
  rank += __shfl_xor_sync(~0u, rank, 1);
  rank += __shfl_xor_sync(~0u, rank, 2);
  if (mine < total && lane % 4 == 0) e.sorted[rank] = static_cast<std::uint8_t>(mine);
  __syncthreads();
  if (h < group && x.open(h)) {
    constexpr int kEach = kFewErrors / 32;
    Mass error[kEach], upto = 0;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const std::uint32_t at = kEach * lane + j;
      error[j] = at < total ? x.gathered()[e.sorted[at] * group + h] : 0;
      upto += error[j];
    }
    const Mass own = upto, target = e.target[h];
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const Mass other = __shfl_up_sync(~0u, upto, d);
      if (lane >= d) upto += other;
    }
    Mass before = e.before[h] + upto - own;
#pragma unroll
    for (int j = 0; j < kEach; before += error[j++])
      if (before < target && before + error[j] >= target)
        atomicMax(&e.end, static_cast<std::uint32_t>(kEach * lane + j + 1));
  }
  __syncthreads();
  const std::uint32_t end = e.end;
  if (mine < total && lane % 4 == 0 && rank < end) {
    const auto id = static_cast<std::uint32_t>(item.item);
    if (id < static_cast<std::uint32_t>(r.begin))  // a lower block's
      atomicAdd(&s.runs_taken, Ranked::runs_of(item.tokens));
    if (rank + 1 == end) s.limit = {static_cast<std::uint32_t>(item.item >> 32), id + 1};
  }
  __syncthreads();
}

/// Too many items of one and the same key: by id, a head after the other. Leaves s.limit.
__device__ __noinline__ inline void settle_error_ties(const ErrorSearch x) {
  const Ranked r = x.r;
  RankShared& s = r.s;
  ErrorShared& e = x.e;
  const std::uint32_t key = s.place.prefix;
  const auto tied = [&](int i, int h) {
    return i < r.count && r.keys[i] == key ? error_of(x, h, i) : 0;
  };
#pragma unroll 1
  for (int h = 0; h < x.group(); ++h) {
    if (!x.open(h)) continue;
    Mass mine = 0, total;
#pragma unroll 1
    for (int i = threadIdx.x; i < r.count; i += block_threads()) mine += tied(i, h);
    scan_errors(mine, e.scratch, &total);
    Mass at = e.before[h] + before_me(e.count, total);
    const Mass target = e.target[h];
#pragma unroll 1
    for (int base = 0; base < r.count; base += block_threads(), at += total) {
      const int i = base + threadIdx.x;
      const Mass error = tied(i, h), before = at + scan_errors(error, e.scratch, &total);
      if (before < target && before + error >= target)
        for (int block = 0; block < Team::size(); ++block)
          atomicMax(Team::of(&e.end, block), static_cast<std::uint32_t>(r.begin + i) + 1);
    }
  }
  Team::sync();
  if (threadIdx.x == 0) s.limit = {key, e.end};
  __syncthreads();
}

/// As find_limit. What comes before s.limit is refined, and where no head needs any of it, what is
/// forced alone.
__device__ inline std::uint32_t find_error_limit(const ErrorSearch& x) {
  const Ranked& r = x.r;
#pragma unroll 1
  for (;;) {
    narrow_errors(x);
    if (x.e.open == 0) return runs_below(r);
    const uint2 listed = list_place(r, kFewErrors, [&](std::uint32_t key, int i, std::uint32_t at) {
#pragma unroll 1
      for (int h = 0; h < x.group(); ++h)
        x.listed()[at * x.group() + h] = key != kForced && x.open(h) ? error_of(x, h, i) : 0;
    });
    const std::uint32_t total = __reduce_add_sync(~0u, listed.x);
    if (total <= kFewErrors) {
      settle_errors(x, listed, total);
      return r.s.runs_taken;
    }
    if (r.s.place.shift == 0) {
      settle_error_ties(x);
      return runs_below(r);
    }
    Team::sync();  // all have read sums and counts
    clear_errors(x);
    __syncthreads();
  }
}

}  // namespace doublep::cuda
