#include <algorithm>

#include "cuda/common/launch.h"
#include "cuda/select/emit.cuh"
#include "cuda/select/group_sum.cuh"
#include "cuda/select/select.h"
#include "cuda/select/threshold_search.cuh"

namespace doublep::cuda {
namespace {

/// Mass to be found among the items: a share of everything, less what the zone holds already.
__device__ Mass target_mass(double p, Mass items, double zone) {
  const double target = p * (static_cast<double>(items) + zone) - zone;
  if (!(target > 0)) return 0;
  const Mass ceiling = static_cast<Mass>(ceil(fmin(target, 9e18)));
  return ceiling < items ? ceiling : items;
}

/// Mass of the zone's tokens of this head, in units of the largest item's.
__device__ double zone_mass(const SelectParams& p, int row, float max, double* scratch) {
  const float* z = p.zone_logits + static_cast<std::int64_t>(row) * p.zone_capacity;
  double zone = 0;
  for (int i = threadIdx.x; i < p.zone_capacity; i += block_threads())
    zone += exp(static_cast<double>(z[i]) - max) * kUnitMass;
  return BlockOps::sum(zone, scratch);
}

/// found[0].limit: what to refine; found[1].limit: what to keep. The histogram of leading bins is
/// in s.weights. All threads of one block.
__device__ void find_limits(const SelectParams& p, SearchShared& s, const Items& items,
                            const Ruler& ruler, int2 budget, double zone) {
  Mass mass[kBinsEach], total;
  const Mass at = scan_bins(s, ruler, -1, mass, &total);
  if (threadIdx.x < 2) {
    Found& f = s.found[threadIdx.x];
    const bool refine = threadIdx.x == 0;
    const double share = refine ? p.refine : p.keep;
    f.filled = 0, f.at_most = 0, f.limit = {0, 0}, f.bin = kBins;
    if (ruler.count) {
      const int wanted = max(refine ? budget.y : budget.x, 0);
      f.target = static_cast<Mass>(wanted) < total ? static_cast<Mass>(wanted) : total;
    } else {
      f.target = share >= 1 ? 0 : target_mass(share, total, zone);
      if (share >= 1) f.limit = {kMassless, 0};
    }
    // Without terms, or with everything outside as a term, what is kept does not matter.
    if (!refine && (p.outside_terms || !p.emit_terms)) f.target = 0;
  }
  __syncthreads();
#pragma unroll
  for (int w = 0; w < 2; ++w)
    if (s.found[w].target > 0) note_bin(s, s.found[w], ruler, at, mass);
  __syncthreads();
  const bool listed[2] = {s.found[0].at_most > 0 && s.found[0].at_most <= kListed,
                          s.found[1].at_most > 0 && s.found[1].at_most <= kListed};
  if (threadIdx.x < 2 && listed[threadIdx.x])
    s.found[threadIdx.x].limit = {(s.found[threadIdx.x].bin + 1) << kLeadShift, 0};
  if (listed[0] || listed[1]) {
    const std::uint32_t bins[2] = {listed[0] ? s.found[0].bin : kBins,
                                   listed[1] ? s.found[1].bin : kBins};
    items.for_each(ruler, [&](std::uint32_t key, std::uint32_t id) {
      const std::uint32_t bin = key >> kLeadShift;
      if (bin == bins[0]) list_item(s, ruler, 0, key, id);
      if (bin == bins[1]) list_item(s, ruler, 1, key, id);
    });
    __syncthreads();
    settle(s, ruler);
    __syncthreads();
  }
  for (int w = 0; w < 2; ++w)
    if (s.found[w].at_most > kListed) refine_bin(s, w, items, ruler);
}

/// True in one block of the pair: the last to get here. What the others wrote before is visible.
__device__ bool arrive_last(std::int32_t* arrived, int blocks, bool& shared_flag) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    shared_flag = blocks == 1 || atomicAdd(arrived, 1) == blocks - 1;
    if (shared_flag) *arrived = 0;
  }
  __syncthreads();
  if (shared_flag) __threadfence();
  return shared_flag;
}

/// One block per query head. Under kSum the block of a pair that finishes its head's statistics
/// last goes on alone; otherwise the one that finishes its codes last emits.
__global__ void __launch_bounds__(kManyThreads, 1)
    select_kernel(const __grid_constant__ SelectParams p, int cached_items) {
  extern __shared__ __align__(16) std::uint32_t cached[];
  __shared__ SearchShared s;
  __shared__ bool flag;
  const bool summed = p.group_mode == GroupMode::kSum, count = p.rule == SelectRule::kCount;
  const int pair = blockIdx.x / p.shape.group;
  const int row = summed ? pair * p.shape.group : blockIdx.x;
  dependency_release();
  prefetch_work(p, pair);
  for (int i = threadIdx.x; i < kBins; i += block_threads()) s.weights[i] = 0;
  dependency_wait();
  const int n = p.num_items ? p.num_items[pair] : 0;
  const int2 budget = count ? p.budgets[pair] : make_int2(0, 0);

  double zone_share = 0;
  if (summed) {
    head_stats(p, pair, blockIdx.x, n, s);
    if (!arrive_last(p.arrived + pair, p.shape.group, flag)) return;
    zone_share = sum_over_group(p, pair, n);
  }
  const Items items{summed ? p.group_logits + pair * p.capacity
                           : p.logits + static_cast<std::int64_t>(row) * p.capacity,
                    n <= cached_items ? cached : nullptr, n};
  float max = -INFINITY, min = INFINITY;
#pragma unroll 4
  for (int i = 4 * threadIdx.x; i < n; i += 4 * block_threads()) {
    const float4 v = *reinterpret_cast<const float4*>(items.values + i);
    if (items.cached) *reinterpret_cast<float4*>(items.cached + i) = v;
    max = fmaxf(fmaxf(max, fmaxf(v.x, v.y)), fmaxf(v.z, v.w));
    if (count) {
      const auto present = [](float x) { return x == -INFINITY ? INFINITY : x; };
      min = fminf(fminf(min, fminf(present(v.x), present(v.y))), fminf(present(v.z), present(v.w)));
    }
  }
  max = BlockOps::max(max, reinterpret_cast<float*>(s.scratch));
  if (count) min = -BlockOps::max(-min, reinterpret_cast<float*>(s.scratch));
  const Ruler ruler(max, min, count, n);
  if (max != -INFINITY) {  // else there is nothing to choose from
    // The values that are kept become keys on the way.
    if (items.cached) {
#pragma unroll 1
      for (int i = 4 * threadIdx.x; i < n; i += 4 * block_threads()) {
        auto* four = reinterpret_cast<uint4*>(items.cached + i);
        const uint4 v = *four;
        *four = {ruler.key(__uint_as_float(v.x)), ruler.key(__uint_as_float(v.y)),
                 ruler.key(__uint_as_float(v.z)), ruler.key(__uint_as_float(v.w))};
      }
    }
    items.for_each(ruler, [&](std::uint32_t key, std::uint32_t) {  // each thread reads its own
      atomicAdd(&s.weights[key >> kLeadShift], ruler.weight(key));
    });
    __syncthreads();
    double zone = 0;
    if (p.zone_logits && !count)
      zone = summed ? zone_share * exp(-static_cast<double>(max)) * kUnitMass
                    : zone_mass(p, row, max, reinterpret_cast<double*>(s.scratch));
    find_limits(p, s, items, ruler, budget, zone);
    write_codes(p, s, items, ruler, row);
  } else {
    for (int i = threadIdx.x; i < n; i += block_threads())
      p.codes[static_cast<std::int64_t>(row) * p.capacity + i] = 0;
  }
  if (!arrive_last(p.arrived + pair, summed ? 1 : p.shape.group, flag)) return;
  emit_work(p, pair, n);
}

}  // namespace

void select(const SelectParams& p, cudaStream_t stream, bool overlap) {
  if (by_rank(p.rule)) return select_ranked(p, stream, overlap);
  // Keys stay in shared memory where all of them fit; with 1M tokens they are measured anew.
  int device = 0, most = 0, sms = 0;
  DP_CUDA(cudaGetDevice(&device));
  DP_CUDA(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  DP_CUDA(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, device));
  const std::int64_t room = (most - 30 * 1024) / 4 / 16 * 16;
  const auto cached = static_cast<int>(std::min(p.capacity, room));
  const int blocks = p.shape.pairs * p.shape.group;
  // More threads where a block has a multiprocessor to itself (of kSum's, one a pair goes on) and
  // items enough for them. Measured on an H200 (cuda/results/2026-11-27-h200) at 512, 2048 and 8192
  // items, with the body of 5ca9ba2, which took 1 to 4 % longer and is undone.
  const bool many =
      blocks <= sms ? p.capacity > 3072
                    : p.group_mode == GroupMode::kSum && p.shape.pairs <= sms && p.capacity > 6144;
  launch({dim3(blocks),
          dim3(p.threads > 0 ? p.threads
               : many        ? kManyThreads
                             : kFewThreads),
          static_cast<std::size_t>(cached) * sizeof(std::uint32_t), stream, overlap},
         select_kernel, p, cached);
}

}  // namespace doublep::cuda
