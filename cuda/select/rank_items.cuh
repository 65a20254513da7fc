// One KV head's items as the blocks that work on it have them in shared memory: keys, by which they
// are refined in order, sizes, and the log masses of its query heads.
#pragma once

#include "cuda/common/mma.cuh"
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

}  // namespace doublep::cuda
