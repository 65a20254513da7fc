// The threshold of a top-p or top-k by radix search: histograms of mass over ever finer digits of a
// key until the digit that the target falls into holds few enough items to settle among themselves.
#pragma once

#include <cmath>
#include <cstdint>

#include "cuda/select/block_scan.cuh"

namespace doublep::cuda {

inline constexpr int kSelectThreads = 512;
inline constexpr int kBins = 2048, kListed = 512;
using Mass = unsigned long long;  // fixed point: sums do not depend on the order of the atomics
inline constexpr float kUnitMass = 1099511627776.f;  // 2^40, the largest item's mass
using SelectOps = BlockOps<kSelectThreads>;

/// Descending mass, then ascending id. The distance to the maximum is kept to 2^-26 up to 64 and
/// then only as "tiny"; beyond 745 a float64 mass would be zero and no p takes the item.
__device__ inline std::uint64_t item_key(float max, float value, std::uint32_t id) {
  const float delta = max - value;
  const std::uint32_t key = delta < 63.9999f ? static_cast<std::uint32_t>(delta * 67108864.f)
                            : delta <= 745.f ? 0xFFFFFFFEu
                                             : 0xFFFFFFFFu;
  return static_cast<std::uint64_t>(key) << 32 | id;
}
inline constexpr std::uint64_t kEveryItem = 0xFFFFFFFFull << 32;

__device__ inline Mass item_mass(float max, float value, bool count) {
  if (value == -INFINITY) return 0;
  return count ? 1 : static_cast<Mass>(expf(value - max) * kUnitMass);
}

struct SearchShared {
  union {
    struct {
      Mass mass[kBins];
      std::uint32_t count[kBins];
    };
    struct {
      std::uint64_t key[kListed];
      Mass listed[kListed];
    };
  };
  Mass scratch[SelectOps::kWarps + 1];
  Mass below;
  std::uint64_t limit;
  std::uint32_t bin, in_bin, filled;
};

/// Histogram over the digit at `shift` of the items whose higher digits equal `prefix`.
template <class Values>
__device__ void histogram(SearchShared& s, const Values& values, int n, float max, bool count,
                          std::uint64_t prefix, int shift, int above) {
  for (int i = threadIdx.x; i < kBins; i += kSelectThreads) s.mass[i] = 0, s.count[i] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += kSelectThreads) {
    const float v = values(i);
    if (v == -INFINITY) continue;
    const std::uint64_t key = item_key(max, v, i);
    if (above < 64 && (key >> above) != prefix) continue;
    const int bin = static_cast<int>(key >> shift) & ((1 << (above - shift)) - 1);
    atomicAdd(&s.mass[bin], item_mass(max, v, count));
    atomicAdd(&s.count[bin], 1u);
  }
  __syncthreads();
}

/// The bin in which the running mass, from `below` on, reaches `target`; fills s.bin, below,
/// in_bin.
__device__ inline void find_bin(SearchShared& s, Mass below, Mass target) {
  constexpr int kEach = kBins / kSelectThreads;
  const int first = threadIdx.x * kEach;
  Mass sum = 0, total;
#pragma unroll
  for (int i = 0; i < kEach; ++i) sum += s.mass[first + i];
  Mass at = below + SelectOps::exclusive_scan(sum, s.scratch, &total);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const Mass here = s.mass[first + i];
    if (at < target && at + here >= target)
      s.bin = first + i, s.below = at, s.in_bin = s.count[first + i];
    at += here;
  }
  __syncthreads();
}

/// Exclusive limit on the key for items that hold `target` (0 < target <= the total mass). The
/// caller has run histogram() for the first digit; it is still in shared memory on entry if
/// `fresh`, and is lost on return.
template <class Values>
__device__ std::uint64_t find_limit(SearchShared& s, const Values& values, int n, float max,
                                    bool count, Mass target, bool fresh) {
  constexpr int kShifts[] = {53, 42, 32, 21, 10, 0};
  int above = 64, level = 0;
  std::uint64_t prefix = 0;
  Mass below = 0;
  for (;;) {
    const int shift = kShifts[level];
    if (!fresh) histogram(s, values, n, max, count, prefix, shift, above);
    fresh = false;
    find_bin(s, below, target);
    prefix = level == 0 ? s.bin : prefix << (above - shift) | s.bin;
    above = shift, below = s.below, ++level;
    const std::uint32_t in_bin = s.in_bin;
    __syncthreads();
    if (in_bin <= kListed) break;  // the last digit leaves one item
  }
  if (threadIdx.x == 0) s.filled = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += kSelectThreads) {
    const float v = values(i);
    if (v == -INFINITY) continue;
    const std::uint64_t key = item_key(max, v, i);
    if ((key >> above) != prefix) continue;
    const std::uint32_t at = atomicAdd(&s.filled, 1u);
    s.key[at] = key, s.listed[at] = item_mass(max, v, count);
  }
  __syncthreads();
  const int filled = s.filled;
  if (static_cast<int>(threadIdx.x) < filled) {
    const std::uint64_t key = s.key[threadIdx.x];
    Mass before = below;
    for (int i = 0; i < filled; ++i) before += s.key[i] < key ? s.listed[i] : 0;
    if (before < target && before + s.listed[threadIdx.x] >= target) s.limit = key + 1;
  }
  __syncthreads();
  return s.limit;
}

}  // namespace doublep::cuda
