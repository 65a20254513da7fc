// A selection by rank, up to a number of tokens or an error that is left, one for a group, in one
// launch: what Double-P's error order asks for. The blocks of a cluster share a KV head's items, a
// stretch each, and meet: for the heads' totals, for a histogram over scores of tokens (or of every
// head's error, and once more for where those end), and for the few items among which the tokens
// become enough. Everything that is not refined is a term, so that no list of terms is written: a
// refined cluster's log mass becomes -infinity.
//
// A launch like this is a chain of latencies. So loops stay rolled up (a block runs through its
// code once, and fetching it costs more than a branch), what does not depend on the estimate is
// read while the estimate runs, and every block finds out by itself what one could tell all others.
#include <algorithm>

#include "cuda/common/launch.h"
#include "cuda/select/allowed_error.cuh"
#include "cuda/select/enough_tokens.cuh"
#include "cuda/select/score_items.cuh"

namespace doublep::cuda {
namespace {

/// Runs of what is refined, in ascending order of the items and after those of the zone, `before`
/// of them by lower blocks; and every head's masses of the terms. Every thread has the items that
/// it scored, so that nobody waits for masses or keys.
__device__ void emit_ranked(const Ranked& r, const Zone& zone, std::uint32_t before) {
  const SelectParams& p = r.p;
  const int lane = threadIdx.x % 32, group = p.shape.group;
  const Limit limit = r.s.limit;
  const std::uint32_t all = (1u << group) - 1;
  std::int64_t at = r.pair * p.work_capacity + zone.entries(EmitKind::kRuns) + before;
  if (Team::rank() == 0) {
    emit_zone(p, r.pair, zone);
    if (p.pooled.forms && static_cast<int>(threadIdx.x) < group)
      p.pooled.forms[r.pair * group + threadIdx.x] = r.s.forms[threadIdx.x];
  }
  const std::uint64_t end = static_cast<std::uint64_t>(limit.key) << 32 | limit.id;
  // Of items i to i + 3, a bit each. Nothing that is absent comes before a limit.
  const auto taken = [&](int i) {
    std::uint32_t keys[4], bits = 0;
    r.read_keys(i, keys);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const auto id = static_cast<std::uint32_t>(r.begin + i + j);
      if ((static_cast<std::uint64_t>(keys[j]) << 32 | id) < end) bits |= 1u << j;
    }
    return bits;
  };
  const auto runs_of = [&](int i, std::uint32_t bits) {
    std::uint32_t sizes[4], runs = 0;
    r.read_sizes(i, sizes);
#pragma unroll
    for (int j = 0; j < 4; ++j) runs += bits >> j & 1 ? Ranked::runs_of(sizes[j]) : 0;
    return runs;
  };
  // A warp has a stretch of its own, so that one sum over the block places all.
  std::uint32_t runs = 0, all_runs;
  r.for_fours([&](int i) {
    const std::uint32_t gone = taken(i);
    if (gone != 0) runs += runs_of(i, gone);
    const float* from = r.masses + i;
    float* to = p.masses + r.row(0) + i;
#pragma unroll 1
    for (int h = 0; h < group && (r.held || gone != 0); ++h) {
      float4 v = *reinterpret_cast<const float4*>(from);
      v.x = gone & 1 ? -INFINITY : v.x, v.y = gone & 2 ? -INFINITY : v.y;
      v.z = gone & 4 ? -INFINITY : v.z, v.w = gone & 8 ? -INFINITY : v.w;
      *reinterpret_cast<float4*>(to) = v;
      from += r.mass_stride, to += p.capacity;
    }
  });
  runs = __reduce_add_sync(~0u, runs);
  std::uint32_t to = scan_warps(runs, r.s.scratch, &all_runs);
#pragma unroll 1
  for (int base = r.first; base < r.last && runs > 0; base += kStrip) {
    const int i = base + kItemsEach * lane;
    std::uint32_t mine = i < r.count ? taken(i) : 0;
    const std::uint32_t own = mine != 0 ? runs_of(i, mine) : 0, upto = scan_lanes(own);
    Run* out = p.runs + at + to + upto - own;
#pragma unroll 1
    for (; __any_sync(~0u, mine != 0); mine &= mine - 1) {
      const std::int32_t* rows = r.offsets + (mine != 0 ? i + __ffs(mine) - 1 : 0);
      out += write_runs(out, rows[0], mine != 0 ? rows[1] : rows[0], all);
    }
    to += __shfl_sync(~0u, upto, 31);
  }
  at += all_runs;
  if (Team::rank() + 1 == Team::size() && threadIdx.x == 0)
    p.num_work[r.pair] = static_cast<std::int32_t>(at - r.pair * p.work_capacity);
}

/// An address in shared memory that stays in a register: in a cluster its first part, what block
/// this is, is found out anew at every use else, in the middle of loops.
template <class T>
__device__ T* in_register(T* object) {
  auto address = static_cast<unsigned>(__cvta_generic_to_shared(object));
  asm("" : "+r"(address));
  return static_cast<T*>(__cvta_shared_to_generic(address));
}

/// Shared memory of a stretch of `items` items, a multiple of 16: keys and first rows; and with
/// `held` heads log sizes and variances, and masses of so many heads.
constexpr std::int64_t stretch_bytes(std::int64_t items, int held) {
  return (items * (held > 0 ? 4 + held : 2) + 16) * static_cast<std::int64_t>(sizeof(float));
}

/// A team for every pair: blocks pair * team .. pair * team + team - 1. `room`: items that a block
/// has shared memory for. kHold: variances and masses are kept there, too. kByError: what is left
/// is an error; else tokens are to be enough.
template <bool kByError, bool kHold>
__global__ void __launch_bounds__(kManyThreads)
    ranked_kernel(const __grid_constant__ SelectParams p, int room) {
  extern __shared__ __align__(16) float shared[];
  __shared__ RankShared shared_state;
  float* const stretch = in_register(shared);
  RankShared& s = *in_register(&shared_state);
  const int pair = static_cast<int>(blockIdx.x) / Team::size(), t = threadIdx.x;
  dependency_release();
  // What no launch of this step writes, while the one before still runs.
  if constexpr (!kByError) clear_histogram(s);
  if (t == 0) s.place = {0, 32, 0}, s.limit = {kByError ? kForced + 1 : 0, 0}, s.runs_taken = 0;
  const int n = p.num_items ? p.num_items[pair] : 0;
  const int each = ((n + Team::size() - 1) / Team::size() + 15) / 16 * 16;
  const int begin = min(n, Team::rank() * each), count = min(n, begin + each) - begin;
  float *variances = stretch + room, *log_sizes = stretch + 2 * room, *masses = stretch + 3 * room;
  auto* offsets =
      reinterpret_cast<std::int32_t*>(kHold ? masses + p.shape.group * room : stretch + room);
  const std::int64_t row = static_cast<std::int64_t>(pair) * p.shape.group * p.capacity + begin;
  const int of_warp = (count + kItemsEach * block_threads() - 1) / (kItemsEach * block_threads()),
            first = t / 32 * of_warp * kStrip;
  const Ranked r{p,
                 s,
                 pair,
                 begin,
                 count,
                 first,
                 min(count, first + of_warp * kStrip),
                 kHold,
                 offsets,
                 reinterpret_cast<std::uint32_t*>(stretch),
                 log_sizes,
                 variances,
                 p.meta + pair * p.capacity + begin,
                 kHold ? masses : p.masses + row,
                 kHold ? room : p.capacity};
  const Zone zone(p, pair);
  const std::int32_t* from = p.offsets + pair * (p.capacity + 1);
  r.for_fours([&](int i) {
    const auto start = [&](int j) { return __int_as_float(from[min(begin + i + j, n)]); };
    store_four(reinterpret_cast<float*>(offsets + i), true, start(0), start(1), start(2), start(3));
    if (!kHold) return;
    Ranked global = r;
    global.held = false;
    float log_size[4], variance[4];
    global.read_meta(i, log_size, variance);
    store_four(log_sizes + i, true, log_size[0], log_size[1], log_size[2], log_size[3]);
    store_four(variances + i, true, variance[0], variance[1], variance[2], variance[3]);
  });
  if (t == 0) offsets[(count + 3) / 4 * 4] = from[begin + count];
  std::uint32_t before = 0;
  if constexpr (kByError) {
    __shared__ ErrorShared shared_errors;
    ErrorShared& e = *in_register(&shared_errors);
    const ErrorSearch search{
        r, e, reinterpret_cast<uint2*>(offsets + room + 16)};  // stretch_bytes() from the beginning
    clear_errors(search);
    if (t == 0) e.open = (1u << p.shape.group) - 1, e.end = 0;
    dependency_wait();
    if (t < p.shape.group) e.lifts[t] = p.lifts[pair * p.shape.group + t];
    __syncthreads();
    weigh(r);
    score(r);
    force_tails(r);
    before = find_error_limit(search);
  } else {
    const double present = n > 0 ? from[n] - from[0] : 0;
    const double wanted = p.share > 0 ? ceil(p.share * p.lengths[pair / p.shape.kv_heads])
                                      : static_cast<double>(p.wanted);
    const auto target = static_cast<std::uint32_t>(fmin(fmax(wanted, 0.), present));
    dependency_wait();
    weigh(r);
    score(r);
    if (target > 0) before = find_limit(r, target);
  }
  // Nobody's shared memory goes while another may read it. What this block has read of others it
  // has used by now: all threads have met since.
  Team::leave();
  emit_ranked(r, zone, before);
  Team::wait();
}

/// What the current device has for it: shared memory of a block and of a multiprocessor.
struct Chip {
  int shared = 0, shared_of_sm = 0, sms = 0, major = 0;

  Chip() {
    int device = 0;
    DP_CUDA(cudaGetDevice(&device));
    DP_CUDA(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    DP_CUDA(
        cudaDeviceGetAttribute(&shared_of_sm, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device));
    DP_CUDA(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, device));
    DP_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  }
};
inline constexpr std::int64_t kReserved = 1024;  // that the system takes of a block
/// Shared memory of a block beside its stretch. `heads`: whose errors are added up; 0 where tokens
/// are.
std::int64_t beside_stretch(int heads) {
  const std::int64_t by_error =
      heads > 0 ? static_cast<std::int64_t>(sizeof(ErrorShared)) + error_bytes(heads) : 0;
  return static_cast<std::int64_t>(sizeof(RankShared)) + by_error + kReserved;
}

}  // namespace

std::int64_t ranked_room(SelectRule rule, std::int64_t shared_bytes, int major, int team) {
  const std::int64_t left =
      shared_bytes - beside_stretch(rule == SelectRule::kError ? kMaxGroup : 0);
  const std::int64_t each =
      (left - stretch_bytes(0, 0)) / (stretch_bytes(16, 0) - stretch_bytes(0, 0)) * 16;
  return each * (major >= 9 ? (team > 0 ? team : kMostBlocks) : 1);
}
std::int64_t ranked_room(SelectRule rule, int team) {
  const Chip chip;
  return ranked_room(rule, chip.shared, chip.major, team);
}

void select_ranked(const SelectParams& p, cudaStream_t stream, bool overlap) {
  const Chip chip;
  const bool by_error = p.rule == SelectRule::kError;
  const std::int64_t beside = beside_stretch(by_error ? p.shape.group : 0);
  const auto items = [&](int team) { return ((p.capacity + team - 1) / team + 15) / 16 * 16; };
  const auto fits = [&](int team, int heads) {
    return stretch_bytes(items(team), heads) + beside <= chip.shared;
  };
  // As many blocks as the chip has multiprocessors, but no team larger than its items are worth:
  // two from 129 on, more while each has more than 256. What a block does whatever its items are is
  // as much as a thread's four items take, so that more blocks than multiprocessors are worth it
  // only where threads have more than four, and few pairs have so many.
  int team = 1;
  const auto worth = [&](int team) {
    const bool many = items(team) > kItemsEach * kFewThreads;
    const int pairs = many && p.full_pairs > 0 ? p.full_pairs : p.shape.pairs;
    return 2 * team * pairs <= chip.sms && items(team) > (team > 1 ? 256 : 128);
  };
  while (chip.major >= 9 && team < kMostBlocks && (!fits(team, 0) || worth(team))) team *= 2;
  if (p.team > 0) team = chip.major >= 9 ? p.team : 1;
  if (!fits(team, 0) || team > kMostBlocks)
    throw CudaError("a selection by rank has no room for so many clusters of a KV head");
  // Many warps for a block by itself, to whom heads' strips are dealt (128K tokens, batch 8: 14.7
  // us for 20.0 on an H100); two blocks of a multiprocessor take turns anyway.
  const int blocks = team * p.shape.pairs, of_sm = (blocks + chip.sms - 1) / chip.sms;
  const int threads = p.threads > 0                             ? p.threads
                      : of_sm == 1 && items(team) > kFewThreads ? kManyThreads
                                                                : kFewThreads;
  // Masses are held where that leaves room for all blocks that share a multiprocessor, of which
  // registers admit as many as have kManyThreads (__launch_bounds__).
  const std::int64_t together = std::min(of_sm, kManyThreads / threads);
  const bool hold =
      fits(team, p.shape.group) &&
      together * (stretch_bytes(items(team), p.shape.group) + beside) <= chip.shared_of_sm;
  std::int64_t bytes = stretch_bytes(items(team), hold ? p.shape.group : 0) +
                       (by_error ? error_bytes(p.shape.group) : 0);
  // Where blocks could have a multiprocessor each, two do not meet on one while others are free of
  // the launch before: each asks for more than half of the shared memory.
  if (of_sm == 1) bytes = std::max<std::int64_t>(bytes, chip.shared_of_sm / 2);
  launch({dim3(blocks), dim3(threads), static_cast<std::size_t>(bytes), stream, overlap,
          static_cast<unsigned>(team)},
         by_error ? hold ? ranked_kernel<true, true> : ranked_kernel<true, false>
         : hold ? ranked_kernel<false, true>
                  : ranked_kernel<false, false>,
         p, static_cast<int>(items(team)));
}

}  // namespace doublep::cuda
