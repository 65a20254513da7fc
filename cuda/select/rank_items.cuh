// One KV head's items in the order in which they are refined: log masses and totals of its query
// heads, and from them a score an item, in the shared memory of the blocks that work on it.
#pragma once

#include "cuda/estimate/pooled.cuh"
#include "cuda/select/emit.cuh"
#include "cuda/select/select.h"
#include "cuda/select/team.cuh"

namespace doublep::cuda {

inline constexpr int kMostWarps = kManyThreads / 32;
inline constexpr int kMostBlocks = 8;  // of a cluster, on every chip that has clusters
inline constexpr int kDigitBits = 9, kDigits = 1 << kDigitBits;  // at most a bin a thread
inline constexpr int kFewest = 512;             // items that are settled one by one
inline constexpr int kStrip = 32 * kItemsEach;  // items that a warp goes through at once
static_assert(kDigits <= kFewThreads && kItemsEach == 4);

/// Scores that are told apart: no weight of the reference is larger than e^300 for each of eight
/// heads, and below e^-745 they are all zero in float64.
inline constexpr float kHighest = 304, kLowest = -745;

inline constexpr float kLog2E = 1.44269504f;

/// 2^x and log2(x) in one instruction each; what is below float32's normal range is zero.
__device__ inline float exp2_of(float x) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
}
__device__ inline float log2_of(float x) {
  float log;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(log) : "f"(x));
  return log;
}

/// 16 bytes at once; the compiler makes four stores of some to shared memory.
__device__ inline void store_four(float* to, bool shared, float a, float b, float c, float d) {
  if (shared)
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(
                     static_cast<unsigned>(__cvta_generic_to_shared(to))),
                 "f"(a), "f"(b), "f"(c), "f"(d)
                 : "memory");
  else
    *reinterpret_cast<float4*>(to) = {a, b, c, d};
}

/// A score, no less than kLowest, as a key, the highest first. Leading digits are bins of 1/8
/// from 3.875 down to -59.875, where logs of squared errors lie; the first and the last one hold
/// all that is beyond.
__device__ inline std::uint32_t key_of(float score) {
  constexpr float kTop = 3.875f, kBottom = -59.875f;
  const bool low = score < kBottom;
  const float within = low            ? (kBottom - score) * (1 / (kBottom - kLowest))
                       : score > kTop ? (kHighest - score) * (1 / (kHighest - kTop))
                                      : (4.f - score) * 8.f;
  const float bin = fmaxf(low ? fminf(within, 0.9999f) : within, 0.f);
  return (low ? 511u << 23 : 0u) + static_cast<std::uint32_t>(bin * static_cast<float>(1 << 23));
}

/// The highest of a warp's values, in all lanes: floats as integers of the same order.
__device__ inline float warp_max(float x) {
  const int bits = __float_as_int(x);
  const int high = __reduce_max_sync(~0u, bits ^ (bits >> 31 & 0x7FFFFFFF));
  return __int_as_float(high ^ (high >> 31 & 0x7FFFFFFF));
}

/// A maximum and the sum of exponentials relative to it.
struct alignas(8) Total {
  float max, sum;

  __device__ static Total none() { return {-INFINITY, 0}; }
  /// Of n terms exp(x) a lane, at most 8; a warp, the result in all lanes. A sum of whole numbers
  /// of 2^-23 takes one instruction; the largest term is 1.
  template <int n>
  __device__ static Total of_warp(const float (&x)[n]) {
    static_assert(32 * n <= 256);
    const float high = highest(x);
    if (high == -INFINITY) return none();
    const float base = high * kLog2E;
    float terms = 0;
#pragma unroll
    for (int j = 0; j < n; ++j) terms += exp2_of(fmaf(x[j], kLog2E, -base));
    constexpr float kUnit = 1 << 23;  // 256 terms: 2^31
    return {high, static_cast<float>(__reduce_add_sync(~0u, __float2uint_rn(terms * kUnit))) *
                      (1 / kUnit)};
  }
  /// Of factor exp(x), where factors may be small.
  template <int n>
  __device__ static Total of_warp(const float (&x)[n], const float (&factor)[n]) {
    const float high = highest(x);
    if (high == -INFINITY) return none();
    const float base = high * kLog2E;
    float terms = 0;
#pragma unroll
    for (int j = 0; j < n; ++j) terms += factor[j] * exp2_of(fmaf(x[j], kLog2E, -base));
    return {high, warp_sum(terms)};
  }
  /// Factors may be zero: a sum of nothing keeps its maximum.
  __device__ void merge(const Total& other) {
    if (other.max == -INFINITY) return;
    const float factor = exp2_of(-fabsf(other.max - max) * kLog2E);  // 0 for the first one
    const bool higher = other.max > max;
    sum = higher ? fmaf(sum, factor, other.sum) : fmaf(other.sum, factor, sum);
    max = higher ? other.max : max;
  }
  __device__ float log() const { return max == -INFINITY ? 0.f : max + __logf(sum); }

 private:
  template <int n>
  __device__ static float highest(const float (&x)[n]) {
    float high = x[0];
#pragma unroll
    for (int j = 1; j < n; ++j) high = fmaxf(high, x[j]);
    return warp_max(high);
  }
};

/// Where the tokens become enough, as far as it is known: among the items whose key begins with
/// `prefix`, all bits but the last `shift`; `below` tokens stand before them.
struct Place {
  std::uint32_t prefix, shift, below;
};

/// An item of the place, as its block lists it.
struct Listed {
  std::uint64_t item;  // key << 32 | id
  std::uint32_t tokens;
};

struct RankShared {
  std::uint32_t tokens[kDigits];  // this block's histogram
  std::uint32_t all[kDigits];     // in the first block: the team's
  Listed list[kFewest];           // of this block
  /// Of all blocks; and before anything is listed what every warp has of every head's total and,
  /// with p.votes, of its squared errors, times totals^2. Other blocks read those between the
  /// first and the second meeting of a selection; lists are gathered after the third.
  union {
    Listed gathered[kFewest];
    Total totals[2][kMaxGroup][kMostWarps];
  };
  float forms[kMaxGroup], log_totals[kMaxGroup];
  /// Of a head's log masses, so that base-2 logs of its squared errors come of them: what is added,
  /// and what a variance is multiplied with.
  float2 scales[kMaxGroup];
  Place place;
  Limit limit;
  uint2 listed;              // this block's items in the place; runs of those before it
  std::uint32_t runs_taken;  // of lower blocks' items that are refined
  std::uint32_t count;       // what settle_ties adds up over the blocks
  std::uint32_t scratch[kMostWarps];
};

/// Before a histogram; all threads, and nobody else's adds are under way.
__device__ inline void clear_histogram(RankShared& s) {
  if (threadIdx.x < kDigits) s.tokens[threadIdx.x] = s.all[threadIdx.x] = 0;
  if (threadIdx.x == 0) s.listed = {0, 0};
}

/// Exclusive prefix sum over the warps of the block, of one number each; `total`: of all. All
/// threads, who have met since `scratch` was read last.
__device__ inline std::uint32_t scan_warps(std::uint32_t value, std::uint32_t* scratch,
                                           std::uint32_t* total) {
  const std::uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  // Every warp adds up those before it by itself.
  const std::uint32_t sum = lane < blockDim.x / 32 ? scratch[lane] : 0;
  *total = __reduce_add_sync(~0u, sum);
  return __reduce_add_sync(~0u, lane < warp ? sum : 0);
}
/// Over a warp, inclusive.
__device__ inline std::uint32_t scan_lanes(std::uint32_t value) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const std::uint32_t other = __shfl_up_sync(~0u, value, d);
    if (lane >= d) value += other;
  }
  return value;
}
/// As scan_warps over the threads of the block. One copy of its code.
__device__ __noinline__ inline std::uint32_t scan_block(std::uint32_t value, std::uint32_t* scratch,
                                                        std::uint32_t* total) {
  const std::uint32_t upto = scan_lanes(value);
  return scan_warps(__shfl_sync(~0u, upto, 31), scratch, total) + upto - value;
}

/// One pair's items as a block of its team sees them. Items are counted from its first one. A warp
/// has a stretch of them to itself, [first, last), and a thread four neighbours of every kStrip: of
/// keys and sizes it reads those that it wrote, but for the last one's end, without a barrier.
struct Ranked {
  const SelectParams& p;
  RankShared& s;
  int pair, begin, count;              // first item of this block, and how many they are
  int first, last;                     // of this warp
  bool held;                           // log sizes, variances and masses are in shared memory
  std::int32_t* offsets;               // shared, [count, to a multiple of 4, + 1]: first rows
  std::uint32_t* keys;                 // shared, [count, to a multiple of 4]: of the scores
  const float *log_sizes, *variances;  // shared, where held: 0 where no member is
  const ClusterMeta* meta;             // where not
  float* masses;                       // of the first head: shared where held, or p.masses
  std::int64_t mass_stride;            // from one head to the next

  __device__ std::int64_t row(int head) const {
    return (static_cast<std::int64_t>(pair) * p.shape.group + head) * p.capacity + begin;
  }
  __device__ float log_size(int i) const { return held ? log_sizes[i] : meta[i].log_size; }
  __device__ float variance(int i) const { return held ? variances[i] : meta[i].variance; }
  __device__ std::uint32_t size(int i) const {
    return static_cast<std::uint32_t>(offsets[i + 1] - offsets[i]);
  }
  __device__ static std::uint32_t runs_of(std::uint32_t rows) { return (rows + kTile - 1) / kTile; }
  __device__ std::uint32_t runs(int i) const { return runs_of(size(i)); }

  /// Of items i to i + 3; nothing there: no rows.
  __device__ void read_sizes(int i, std::uint32_t (&sizes)[4]) const {
    const int4 at = *reinterpret_cast<const int4*>(offsets + i);
    const int starts[] = {at.x, at.y, at.z, at.w, offsets[i + 4]};
#pragma unroll
    for (int j = 0; j < 4; ++j) sizes[j] = static_cast<std::uint32_t>(starts[j + 1] - starts[j]);
  }
  __device__ void read_keys(int i, std::uint32_t (&four)[4]) const {
    const uint4 at = *reinterpret_cast<const uint4*>(keys + i);
    four[0] = at.x, four[1] = at.y, four[2] = at.z, four[3] = at.w;
  }
  /// Log sizes and variances; 0 where no member is.
  __device__ void read_meta(int i, float (&log_size)[4], float (&variance)[4]) const {
    if (held) {
      const float4 sizes = *reinterpret_cast<const float4*>(log_sizes + i),
                   spreads = *reinterpret_cast<const float4*>(variances + i);
      log_size[0] = sizes.x, log_size[1] = sizes.y, log_size[2] = sizes.z, log_size[3] = sizes.w;
      variance[0] = spreads.x, variance[1] = spreads.y;
      variance[2] = spreads.z, variance[3] = spreads.w;
    } else {
      const float4 low = reinterpret_cast<const float4*>(meta + i)[0],
                   high = reinterpret_cast<const float4*>(meta + i)[1];
      log_size[0] = low.x, log_size[1] = low.z, log_size[2] = high.x, log_size[3] = high.z;
      variance[0] = low.y, variance[1] = low.w, variance[2] = high.y, variance[3] = high.w;
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (i + j >= count || log_size[j] == -INFINITY) log_size[j] = variance[j] = 0;
    }
  }
  /// visit(i) for every four of this thread's items.
  template <class Visit>
  __device__ void for_fours(Visit visit) const {
    const int lane = threadIdx.x % 32;
#pragma unroll 1
    for (int i = first + kItemsEach * lane; i < last; i += kStrip) visit(i);
  }
  /// visit(key, i) for every item that has members, whosever; all threads, who have met since the
  /// keys were written.
  template <class Visit>
  __device__ void for_items(Visit visit) const {
#pragma unroll 1
    for (int i = threadIdx.x; i < count; i += block_threads())
      if (keys[i] != kAbsent) visit(keys[i], i);
  }
};

/// 16 bytes from global to shared memory, on their way until copies_wait().
__device__ inline void copy_four_async(float* to, const float* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(to))),
               "l"(from)
               : "memory");
}
/// This thread's own.
__device__ inline void copies_wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/// 1 - exp(-v), to 1e-4 of it.
__device__ inline float saturation(float v) {
  return v < 0.02f ? v * (1 - 0.5f * v) : 1 - __expf(-v);
}
/// The same of v = ln 2 times `bits`.
__device__ inline float saturation_of_bits(float bits) {
  constexpr float kLn2 = 0.69314718f;
  return bits < 0.03f ? bits * (kLn2 - 0.5f * kLn2 * kLn2 * bits) : 1 - exp2_of(-bits);
}

/// Before any item: this warp's totals are none. The last warps, which have the fewest items, have
/// a head each: the variance that its logits have in an item of unit variance, and its zone, of
/// which other blocks and warps have their shares. What is read for them is on its way while
/// meanwhile() is done.
template <class Meanwhile>
__device__ inline void begin_totals(const Ranked& r, Meanwhile meanwhile) {
  const SelectParams& p = r.p;
  RankShared& s = r.s;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = block_threads() / 32;
  const int group = p.shape.group, from_last = warps - 1 - warp, h = from_last % group,
            part = from_last / group, parts = warps / group;
  const std::int64_t head = static_cast<std::int64_t>(r.pair) * group + h;
  const float* zone = p.zone_logits + head * p.zone_capacity;
  const int rows = part < parts ? static_cast<int>(p.zone_capacity) : 0,
            strip = kStrip * parts * Team::size();
  const bool pooled = p.pooled.forms != nullptr && part == 0;
  int at = kStrip * (part * Team::size() + Team::rank());
  float x[4];
  const auto read = [&] {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int z = at + 32 * j + lane;
      x[j] = z < rows ? zone[z] : -INFINITY;
    }
  };
  UnitLogitVariance form = {};
  read();
  if (pooled) form.load(p.pooled, head, p.shape.head_dim);
  meanwhile();
  if (lane < group) s.totals[0][lane][warp] = s.totals[1][lane][warp] = Total::none();
  __syncwarp();
  if (part == 0) {
    const float sum = pooled ? form.sum(p.pooled) : 0.f;
    if (lane == 0) s.forms[h] = sum;
  }
#pragma unroll 1
  while (at < rows) {
    const Total total = Total::of_warp(x);
    if (lane == 0) s.totals[0][h][warp].merge(total);
    at += strip;
    read();
  }
}

/// Of one head over the team, once all blocks have met: every warp's totals become one; a warp, the
/// result in all lanes.
__device__ inline Total total_of_team(Total* of_warps) {
  const int lane = threadIdx.x % 32, warps = block_threads() / 32;
  Total theirs[kMostBlocks];
  float high = -INFINITY, sum = 0;
#pragma unroll
  for (int block = 0; block < kMostBlocks; ++block) {  // all under way at once
    theirs[block] = Total::none();
    if (block < Team::size() && lane < warps) theirs[block] = *Team::of(of_warps + lane, block);
  }
#pragma unroll
  for (int block = 0; block < kMostBlocks; ++block) high = fmaxf(high, theirs[block].max);
  high = warp_max(high);
  if (high == -INFINITY) return Total::none();
#pragma unroll
  for (int block = 0; block < kMostBlocks; ++block)
    sum += theirs[block].sum * exp2_of((theirs[block].max - high) * kLog2E);
  return {high, warp_sum(sum)};
}

/// A warp's share of all strips of all heads, one after the other: head by head, so that warps have
/// about as many whatever their number. Strips are twice as wide here, since what a warp does once
/// for one is as much as for a hundred items.
struct StripOfHead {
  static constexpr int kWide = 2 * kStrip;
  const Ranked& r;
  int strips, strip, head = 0;

  __device__ explicit StripOfHead(const Ranked& ranked)
      : r(ranked), strips((ranked.count + kWide - 1) / kWide), strip(threadIdx.x / 32) {
    settle();
  }
  __device__ bool done() const { return head >= r.p.shape.group; }
  __device__ void next() { strip += block_threads() / 32, settle(); }
  /// First of this thread's four items in either half, and whether there is one.
  __device__ int item(int half) const {
    return strip * kWide + half * kStrip + threadIdx.x % 32 * kItemsEach;
  }
  __device__ bool any(int half) const { return !done() && item(half) < r.count; }
  /// Of that item, from the first one of the pair's first head.
  __device__ int place(int half) const {
    return head * static_cast<int>(r.mass_stride) + item(half);
  }

 private:
  __device__ void settle() {
#pragma unroll 1
    while (strip >= strips && !done()) strip -= strips, ++head;
  }
};

/// log masses of this block's items, and over the team the log of every head's total and what
/// scores take of it, with p.votes times the head's vote.
__device__ inline void weigh(const Ranked& r) {
  const SelectParams& p = r.p;
  RankShared& s = r.s;
  const int group = p.shape.group, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const float* logits = p.logits + r.row(0);
  // All that is read comes at once: logits, the zone's, and the query. Where masses are held in
  // shared memory the logits are copied to where they will stand, all of them under way together.
  begin_totals(r, [&] {
    if (!r.held) return;
    const int longer = static_cast<int>(p.capacity - r.mass_stride);
#pragma unroll 1
    for (StripOfHead at(r); !at.done(); at.next())
#pragma unroll
      for (int half = 0; half < 2; ++half)
        if (at.any(half))
          copy_four_async(r.masses + at.place(half), logits + at.place(half) + at.head * longer);
  });
  if (r.held) logits = r.masses;
  __syncthreads();  // forms, log sizes and variances
  copies_wait();
  StripOfHead at(r);
  float4 next[2];
  const auto read = [&] {
    constexpr float kNone = -INFINITY;
#pragma unroll
    for (int half = 0; half < 2; ++half)
      next[half] = at.any(half) ? *reinterpret_cast<const float4*>(logits + at.place(half))
                                : float4{kNone, kNone, kNone, kNone};
  };
  read();
#pragma unroll 1
  while (!at.done()) {
    float v[8] = {next[0].x, next[0].y, next[0].z, next[0].w,
                  next[1].x, next[1].y, next[1].z, next[1].w};
    const StripOfHead here = at;
    at.next();
    read();
    const float form = s.forms[here.head];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (!here.any(half)) continue;
      float *const mine = v + 4 * half, log_size[4], variance[4], over = -INFINITY;
      r.read_meta(here.item(half), log_size, variance);
      // Half the variance is what the estimate adds to most clusters, log_mean_weight(); log sizes
      // are not below 0.
#pragma unroll
      for (int j = 0; j < 4; ++j) over = fmaxf(over, fmaf(variance[j], form, -2 * log_size[j]));
      if (over <= 0) {
#pragma unroll
        for (int j = 0; j < 4; ++j) mine[j] = fmaf(0.5f * form, variance[j], mine[j]);
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) mine[j] = pooled_mass(mine[j], log_size[j], variance[j], form);
      }
      store_four(r.masses + here.place(half), r.held, mine[0], mine[1], mine[2], mine[3]);
    }
    Total* const totals = &s.totals[0][here.head][warp];
    const Total total = Total::of_warp(v);
    if (lane == 0) totals->merge(total);
#pragma unroll 1
    for (int half = 0; p.votes && half < 2; ++half) {
      // p^2 (exp(sigma^2) - 1) / s, without the total's square; nothing where no item is.
      float log_size[4] = {}, variance[4] = {}, x[4], factor[4];
      if (here.any(half)) r.read_meta(here.item(half), log_size, variance);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float spread = fminf(variance[j] * form, 300.f), mass = half == 0 ? v[j] : v[4 + j];
        x[j] = 2 * mass - log_size[j] + spread;
        factor[j] = saturation_of_bits(spread * kLog2E);
      }
      const Total errors = Total::of_warp(x, factor);
      if (lane == 0) totals[kMaxGroup * kMostWarps].merge(errors);
    }
  }
  Team::sync();
  if (warp < group) {
    float logs[2] = {};  // of the total, and of the squared errors
    bool any = false;    // of them
#pragma unroll 1
    for (int k = 0; k < (p.votes ? 2 : 1); ++k) {
      const Total total = total_of_team(s.totals[k][warp]);
      logs[1] = total.log(), any = total.max != -INFINITY;
      if (k == 0) logs[0] = logs[1];
    }
    // What is nothing in float64 has no vote, as in core; nor is there anything to count.
    const float errors = logs[1] - 2 * logs[0],
                vote = p.votes && any && errors > kLowest ? -0.5f * errors : 0.f;
    if (lane == 0) {
      const bool squared = p.rank != RankBy::kMass, error = p.rank == RankBy::kError;
      s.log_totals[warp] = logs[0];
      s.scales[warp] = {(vote - (squared ? 2 : 1) * logs[0]) * kLog2E,
                        error ? s.forms[warp] * kLog2E : 0.f};
    }
  }
  __syncthreads();
}

/// What refining an item removes of the group's squared error, a token, as a log; with p.votes each
/// head's times its vote; as a key. Errors grow with exp(sigma^2), which is beyond float32 from
/// sigma^2 = 88 on and within float64 up to the 300 that the reference takes it to be at most: so
/// heads are added up relative to the first one's, or to another's that is far above.
__device__ inline void score(const Ranked& r) {
  const SelectParams& p = r.p;
  const RankShared& s = r.s;
  const bool error = p.rank == RankBy::kError, squared = p.rank != RankBy::kMass;
  const float factor = squared ? 2 * kLog2E : kLog2E;
  constexpr float kFar = 120;  // with eight heads 2^123: within float32
  constexpr float kNone = -1e4f;
  r.for_fours([&](int i) {
    float log_size[4], variance[4], base[4], sum[4] = {};
    r.read_meta(i, log_size, variance);
    const float* mass = r.masses + i;
    float4 next = *reinterpret_cast<const float4*>(mass);
#pragma unroll 1
    for (int h = 0; h < p.shape.group; ++h) {
      const float v[4] = {next.x, next.y, next.z, next.w};
      if (h + 1 < p.shape.group) next = *reinterpret_cast<const float4*>(mass += r.mass_stride);
      const float2 scale = s.scales[h];
      float spread[4], x[4];  // sigma^2 and log of p^2 exp(sigma^2), in bits
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        spread[j] = fminf(variance[j] * scale.y, 300 * kLog2E);
        x[j] = fmaf(v[j], factor, scale.x) + spread[j];
      }
      if (h == 0) {
#pragma unroll
        for (int j = 0; j < 4; ++j) base[j] = fmaxf(x[j], kNone);
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) x[j] -= base[j];
      if (fmaxf(fmaxf(x[0], x[1]), fmaxf(x[2], x[3])) > kFar) {
#pragma unroll
        for (int j = 0; j < 4; ++j)
          if (x[j] > kFar) sum[j] *= exp2_of(-x[j]), base[j] += x[j], x[j] = 0;
      }
      if (error) {
#pragma unroll
        for (int j = 0; j < 4; ++j)
          sum[j] = fmaf(exp2_of(x[j]), saturation_of_bits(spread[j]), sum[j]);
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[j] += exp2_of(x[j]);
      }
    }
    std::uint32_t sizes[4], key[4];
    r.read_sizes(i, sizes);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      constexpr float kLn2 = 0.69314718f;
      const float log = (base[j] + log2_of(sum[j])) * kLn2 - (squared ? 2 * log_size[j] : 0.f);
      key[j] = sizes[j] == 0 ? kAbsent : key_of(fmaxf(log, kLowest));
    }
    *reinterpret_cast<uint4*>(r.keys + i) = {key[0], key[1], key[2], key[3]};
  });
}

}  // namespace doublep::cuda
