#include "cuda/common/launch.h"
#include "cuda/select/emit.cuh"
#include "cuda/select/select.h"
#include "cuda/select/threshold_search.cuh"

namespace doublep::cuda {
namespace {

constexpr int kCachedValues = 16384;  // of a head, kept in shared memory

struct Values {
  const float* data;
  __device__ float operator()(int i) const { return data[i]; }
};

/// log sum_h softmax_h(i) into group_logits, and the zone's share of the summed mass. RetroInfer's
/// ranking leaves the size out of the softmax.
__device__ double sum_over_group(const SelectParams& p, int pair, int n, SearchShared& s) {
  auto* scratch = reinterpret_cast<float*>(s.scratch);
  auto* sums = reinterpret_cast<double*>(s.scratch);
  const ClusterMeta* meta = p.meta ? p.meta + pair * p.capacity : nullptr;
  float* out = p.group_logits + pair * p.capacity;
  double zone_share = 0;
  for (int h = 0; h < p.shape.group; ++h) {
    const std::int64_t head = static_cast<std::int64_t>(pair) * p.shape.group + h;
    const float* logits = p.logits + head * p.capacity;
    const float* zone = p.zone_logits ? p.zone_logits + head * p.zone_capacity : nullptr;
    const auto value = [&](int i) {
      const float v = logits[i];
      return p.rank_without_size && v != -INFINITY ? v - meta[i].log_size : v;
    };
    float max = -INFINITY;
    for (int i = threadIdx.x; i < n; i += kSelectThreads) max = fmaxf(max, value(i));
    if (zone)
      for (int i = threadIdx.x; i < p.zone_capacity; i += kSelectThreads) max = fmaxf(max, zone[i]);
    max = SelectOps::max(max, scratch);
    if (max == -INFINITY) max = 0;
    double items = 0, held = 0;
    for (int i = threadIdx.x; i < n; i += kSelectThreads) items += expf(value(i) - max);
    if (zone)
      for (int i = threadIdx.x; i < p.zone_capacity; i += kSelectThreads)
        held += expf(zone[i] - max);
    items = SelectOps::sum(items, sums);
    held = zone ? SelectOps::sum(held, sums) : 0;
    const double total = items + held;
    const float inverse = total > 0 ? static_cast<float>(1 / total) : 0.f;
    if (total > 0) zone_share += held / total;
    for (int i = threadIdx.x; i < n; i += kSelectThreads)
      out[i] = (h == 0 ? 0.f : out[i]) + expf(value(i) - max) * inverse;
  }
  // Items without members stay out (-infinity); a mass that underflowed is still an item.
  for (int i = threadIdx.x; i < n; i += kSelectThreads)
    out[i] = p.logits[static_cast<std::int64_t>(pair) * p.shape.group * p.capacity + i] == -INFINITY
                 ? -INFINITY
                 : logf(fmaxf(out[i], 1e-38f));
  __syncthreads();
  return zone_share;
}

/// Fixed-point mass that must be found among the items: a share of everything, less what is held.
/// 0: nothing. Never more than there is.
__device__ Mass target_mass(double p, Mass items, double zone) {
  const double target = p * (static_cast<double>(items) + zone) - zone;
  if (!(target > 0)) return 0;
  const Mass ceiling = static_cast<Mass>(ceil(fmin(target, 9e18)));
  return ceiling < items ? ceiling : items;
}

/// One block per query head (per pair for kSum); the block of a pair that finishes last emits.
__global__ void __launch_bounds__(kSelectThreads, 2)
    select_kernel(const __grid_constant__ SelectParams p) {
  extern __shared__ float cached[];
  __shared__ SearchShared s;
  __shared__ bool last;
  const bool summed = p.group_mode == GroupMode::kSum, count = p.rule == SelectRule::kCount;
  const int per_pair = summed ? 1 : p.shape.group;
  const int pair = blockIdx.x / per_pair, head = blockIdx.x % per_pair;
  const int row = pair * p.shape.group + head;
  dependency_release();
  dependency_wait();
  const int n = p.num_items ? p.num_items[pair] : 0;

  double zone_share = summed ? sum_over_group(p, pair, n, s) : 0;
  const float* logits = summed ? p.group_logits + pair * p.capacity
                               : p.logits + static_cast<std::int64_t>(row) * p.capacity;
  const bool fits = n <= kCachedValues;
  float max = -INFINITY;
  for (int i = threadIdx.x; i < n; i += kSelectThreads) {
    const float v = logits[i];
    if (fits) cached[i] = v;
    max = fmaxf(max, v);
  }
  max = SelectOps::max(max, reinterpret_cast<float*>(s.scratch));
  const Values values{fits ? cached : logits};

  Threshold t{max, 0, 0, 0};
  if (max != -INFINITY) {  // else there is nothing to choose from
    Mass mine = 0;
    histogram(s, values, n, max, count, 0, 53, 64);
    for (int i = threadIdx.x; i < kBins; i += kSelectThreads) mine += s.mass[i];
    const Mass items = SelectOps::sum(mine, s.scratch);
    double zone = 0;
    if (p.zone_logits && !count) {
      if (summed) {
        zone = zone_share * exp(-static_cast<double>(max)) * kUnitMass;
      } else {
        const float* z = p.zone_logits + static_cast<std::int64_t>(row) * p.zone_capacity;
        for (int i = threadIdx.x; i < p.zone_capacity; i += kSelectThreads)
          zone += exp(static_cast<double>(z[i]) - max) * kUnitMass;
        zone = SelectOps::sum(zone, reinterpret_cast<double*>(s.scratch));
      }
    }
    const auto limit = [&](double share, int budget, bool fresh) -> std::uint64_t {
      if (!count && share >= 1) return kEveryItem;
      const Mass wanted = budget < 0 ? 0 : static_cast<Mass>(budget);
      const Mass target =
          count ? (wanted < items ? wanted : items) : target_mass(share, items, zone);
      return target == 0 ? 0 : find_limit(s, values, n, max, count, target, fresh);
    };
    const int2 budget = count ? p.budgets[pair] : make_int2(0, 0);
    t.refine = limit(p.refine, budget.y, true);
    const bool same = count ? budget.x == budget.y : p.keep == p.refine;
    // Histogram memory was overlaid by the list unless the first search needed none.
    t.keep = same                               ? t.refine
             : p.outside_terms || !p.emit_terms ? t.refine
                                                : limit(p.keep, budget.x, t.refine == 0);
  }
  if (threadIdx.x == 0) p.thresholds[row] = t;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = per_pair == 1 || atomicAdd(p.arrived + pair, 1) == per_pair - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();
  emit_work(p, pair, n);
  if (threadIdx.x == 0 && per_pair > 1) p.arrived[pair] = 0;
}

}  // namespace

void select(const SelectParams& p, cudaStream_t stream, bool overlap) {
  const int blocks =
      p.group_mode == GroupMode::kSum ? p.shape.pairs : p.shape.pairs * p.shape.group;
  const auto cached = static_cast<std::size_t>(
      p.capacity <= kCachedValues ? p.capacity : static_cast<std::int64_t>(kCachedValues));
  launch({dim3(blocks), dim3(kSelectThreads), cached * sizeof(float), stream, overlap},
         select_kernel, p);
}

}  // namespace doublep::cuda
