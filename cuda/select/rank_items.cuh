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
inline constexpr int kFewest = 512;  // items that are settled one by one
static_assert(kDigits <= kFewThreads);

/// Scores that are told apart: no weight of the reference is larger than e^300 for each of eight
/// heads, and below e^-745 they are all zero in float64.
inline constexpr float kHighest = 304, kLowest = -745;

/// A score as a key, the highest first. Leading digits are bins of 1/8 from 3.875 down to -59.875,
/// where logs of squared errors lie; the first and the last one hold all that is beyond.
__device__ inline std::uint32_t key_of(float score) {
  constexpr float kTop = 3.875f, kBottom = -59.875f;
  if (score == -INFINITY) return kAbsent;
  const bool low = score < kBottom;
  const float within = low            ? (kBottom - score) * (1 / (kBottom - kLowest))
                       : score > kTop ? (kHighest - score) * (1 / (kHighest - kTop))
                                      : (4.f - score) * 8.f;
  const float bin = fmaxf(low ? fminf(within, 0.9999f) : within, 0.f);
  return (low ? 511u << 23 : 0u) + static_cast<std::uint32_t>(bin * static_cast<float>(1 << 23));
}

/// A running maximum and the sum of exponentials relative to it.
struct Total {
  float max, sum;

  __device__ static Total none() { return {-INFINITY, 0}; }
  __device__ void add(float x) { merge({x, 1.f}); }
  /// Factors may be zero: a sum of nothing keeps its maximum.
  __device__ void merge(const Total& other) {
    if (other.max == -INFINITY) return;
    const bool higher = other.max > max;
    const float factor = __expf(-fabsf(other.max - max));  // 0 for the first one
    sum = higher ? sum * factor + other.sum : sum + other.sum * factor;
    max = higher ? other.max : max;
  }
  /// Over groups of `lanes` lanes, a power of two.
  __device__ void merge_lanes(int lanes) {
#pragma unroll 1
    for (int d = lanes / 2; d > 0; d /= 2)
      merge({__shfl_xor_sync(~0u, max, d), __shfl_xor_sync(~0u, sum, d)});
  }
  __device__ float log() const { return max == -INFINITY ? 0.f : max + __logf(sum); }
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
  std::uint32_t tokens[kDigits];            // this block's histogram
  std::uint32_t all[kDigits];               // in the first block: the team's
  Listed list[kFewest], gathered[kFewest];  // of this block; of all of them
  Total warp_totals[kMostWarps], totals[kMaxGroup];
  Total warp_errors[kMostWarps], errors[kMaxGroup];  // with p.votes: squared errors, times totals^2
  float forms[kMaxGroup], log_totals[kMaxGroup];
  float log_votes[kMaxGroup];  // logs of what heads' squared errors are multiplied with
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

/// Exclusive prefix sum over the block; `total`: of all. One copy of its code. All threads.
__device__ __noinline__ inline std::uint32_t scan_block(std::uint32_t value, std::uint32_t* scratch,
                                                        std::uint32_t* total) {
  const std::uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  std::uint32_t scan = value;
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const std::uint32_t other = __shfl_up_sync(~0u, scan, d);
    if (static_cast<int>(lane) >= d) scan += other;
  }
  __syncthreads();  // the scratch of an earlier call has been read
  if (lane == 31) scratch[warp] = scan;
  __syncthreads();
  // Every warp adds up those before it by itself.
  const std::uint32_t sum = lane < blockDim.x / 32 ? scratch[lane] : 0;
  *total = __reduce_add_sync(~0u, sum);
  return __reduce_add_sync(~0u, lane < warp ? sum : 0) + scan - value;
}

/// One pair's items as a block of its team sees them. Items are counted from its first one.
struct Ranked {
  const SelectParams& p;
  RankShared& s;
  int pair, begin, count;              // first item of this block, and how many they are
  std::int32_t* offsets;               // shared, [count + 1]: first rows
  const float *log_sizes, *variances;  // shared where there is room, or in p.meta
  int meta_stride;                     // of both
  float* scores;                       // shared, [count]
  float* masses;                       // of the first head: shared where there is room, or p.masses
  std::int64_t mass_stride;            // from one head to the next

  __device__ std::int64_t row(int head) const {
    return (static_cast<std::int64_t>(pair) * p.shape.group + head) * p.capacity + begin;
  }
  __device__ float log_size(int i) const { return log_sizes[i * meta_stride]; }
  __device__ float variance(int i) const { return variances[i * meta_stride]; }
  __device__ bool masses_shared() const { return masses != p.masses + row(0); }
  __device__ std::uint32_t size(int i) const {
    return static_cast<std::uint32_t>(offsets[i + 1] - offsets[i]);
  }
  __device__ std::uint32_t runs(int i) const {
    return static_cast<std::uint32_t>(Zone::runs(offsets[i + 1] - offsets[i]));
  }
  /// visit(key, i) for every item that has members.
  template <class Visit>
  __device__ void for_items(Visit visit) const {
#pragma unroll 1
    for (int i = threadIdx.x; i < count; i += block_threads()) {
      const std::uint32_t key = key_of(scores[i]);
      if (key != kAbsent) visit(key, i);
    }
  }
};

/// 16 bytes from global to shared memory, on their way until copies_wait().
__device__ inline void copy_async(float* to, const float* from) {
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

/// log masses of this block's items, and over the team the log of every head's total and, with
/// p.votes, of its vote. Every head has as many warps as come out even.
__device__ inline void weigh(const Ranked& r) {
  const SelectParams& p = r.p;
  RankShared& s = r.s;
  const int group = p.shape.group, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int parts = block_threads() / 32 / group, h = warp / parts, part = warp % parts;
  if (h < group) {
    const bool pooled = p.pooled.forms != nullptr;
    const std::int64_t head = static_cast<std::int64_t>(r.pair) * group + h;
    // All that is read comes at once: logits, the zone's, and the query. Where masses are held in
    // shared memory the logits are copied to where they will stand, all of them under way together.
    int i = 4 * (32 * part + lane), z = (Team::rank() * parts + part) * 32 + lane;
    const float* logits = p.logits + r.row(h);
    float* const masses = r.masses + h * r.mass_stride;
    const bool held = r.masses_shared();
#pragma unroll 1
    for (int copied = i; held && copied < r.count; copied += 128 * parts)
      copy_async(masses + copied, logits + copied);
    const float* zone = p.zone_logits + head * p.zone_capacity;
    Total total{z < p.zone_capacity ? zone[z] : -INFINITY, 1}, errors = Total::none();
    const float form = pooled ? unit_logit_variance(p.pooled, head, p.shape.head_dim) : 0.f;
    if (pooled && part == 0 && lane == 0) {
      s.forms[h] = form;
      if (Team::rank() == 0) p.pooled.forms[head] = form;
    }
    if (held) copies_wait(), logits = masses;
    float4 next = i < r.count ? *reinterpret_cast<const float4*>(logits + i) : float4{};
#pragma unroll 1
    for (; i < r.count; i += 128 * parts) {
      float v[4] = {next.x, next.y, next.z, next.w};
      if (i + 128 * parts < r.count)
        next = *reinterpret_cast<const float4*>(logits + i + 128 * parts);
#pragma unroll
      for (int j = 0; j < 4 && pooled; ++j)
        v[j] = pooled_mass(v[j], r.log_size(i + j), r.variance(i + j), form);
      *reinterpret_cast<float4*>(masses + i) = {v[0], v[1], v[2], v[3]};
      Total four{fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3])), 0};
#pragma unroll
      for (int j = 0; j < 4; ++j) four.sum += __expf(v[j] - four.max);
      total.merge(four);
      // p^2 (exp(sigma^2) - 1) / s, without the total's square; nothing where no item is.
#pragma unroll 1
      for (int j = 0; p.votes && j < 4; ++j) {
        const float mass = masses[i + j];
        if (mass == -INFINITY) continue;
        const float spread = fminf(r.variance(i + j) * form, 300.f);
        errors.add(2 * mass - r.log_size(i + j) + spread + __logf(saturation(spread)));
      }
    }
#pragma unroll 1
    for (z += Team::size() * 32 * parts; z < p.zone_capacity; z += Team::size() * 32 * parts)
      total.add(zone[z]);
    total.merge_lanes(32);
    if (p.votes) errors.merge_lanes(32);
    if (lane == 0) s.warp_totals[warp] = total, s.warp_errors[warp] = errors;
  }
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < group) {
    Total total = s.warp_totals[threadIdx.x * parts], errors = s.warp_errors[threadIdx.x * parts];
#pragma unroll 1
    for (int i = 1; i < parts; ++i) {
      total.merge(s.warp_totals[threadIdx.x * parts + i]);
      if (p.votes) errors.merge(s.warp_errors[threadIdx.x * parts + i]);
    }
    s.totals[threadIdx.x] = total, s.errors[threadIdx.x] = errors;
  }
  Team::sync();
  if (static_cast<int>(threadIdx.x) < kMaxGroup * kMostBlocks) {
    const int head = threadIdx.x / kMostBlocks, block = threadIdx.x % kMostBlocks;
    Total total =
        head < group && block < Team::size() ? Team::of(s.totals, block)[head] : Total::none();
    total.merge_lanes(kMostBlocks);
    if (block == 0) s.log_totals[head] = total.log();
    if (p.votes) {
      Total errors =
          head < group && block < Team::size() ? Team::of(s.errors, block)[head] : Total::none();
      errors.merge_lanes(kMostBlocks);
      // What is nothing in float64 has no vote, as in core; nor is there anything to count.
      const float squared = errors.log() - 2 * total.log();
      const bool any = errors.max != -INFINITY && squared > kLowest;
      if (block == 0) s.log_votes[head] = any ? -0.5f * squared : 0.f;
    }
  }
  __syncthreads();
}

/// What refining an item removes of the group's squared error, a token, as a log; with p.votes each
/// head's times its vote. Errors grow with exp(sigma^2), which is beyond float32 from sigma^2 = 88
/// on and within float64 up to the 300 that the reference takes it to be at most: so it is their
/// logs that are added.
__device__ inline void score(const Ranked& r) {
  const SelectParams& p = r.p;
  const RankShared& s = r.s;
  const bool error = p.rank == RankBy::kError, squared = p.rank != RankBy::kMass;
#pragma unroll 1
  for (int i = threadIdx.x; i < r.count; i += block_threads()) {
    const float log_size = r.log_size(i), variance = r.variance(i);
    const float* mass = r.masses + i;
    float v = *mass;
    Total sum = Total::none();
#pragma unroll 1
    for (int h = 0; h < p.shape.group; ++h) {
      float x = v - s.log_totals[h];
      if (h + 1 < p.shape.group) v = *(mass += r.mass_stride);
      if (squared) x = 2 * (x - log_size);
      if (p.votes) x += s.log_votes[h];
      const float spread = error ? fminf(variance * s.forms[h], 300.f) : 0.f;  // sigma^2
      sum.merge({x + spread, error ? saturation(spread) : 1.f});  // x + log(exp(spread) - 1)
    }
    r.scores[i] = r.size(i) == 0 ? -INFINITY : fmaxf(sum.max + __logf(sum.sum), kLowest);
  }
  __syncthreads();
}

}  // namespace doublep::cuda
