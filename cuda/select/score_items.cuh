// What a KV head's items weigh in every query head, the heads' totals over the team, and of both an
// item's score, as a key.
#pragma once

#include "cuda/estimate/pooled.cuh"
#include "cuda/select/rank_items.cuh"

namespace doublep::cuda {

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
