// The threshold of a top-p or top-k by radix search: a histogram of mass over the leading digit of
// a key, then finer digits until the one that the target falls into holds few enough items to
// settle among themselves.
#pragma once

#include <cmath>
#include <cstdint>

#include "cuda/select/block_scan.cuh"

namespace doublep::cuda {

/// A block has 512 or 1024 threads: more where blocks are few and have much to do.
__device__ inline int block_threads() { return static_cast<int>(blockDim.x); }
inline constexpr int kFewThreads = 512, kManyThreads = 1024;
inline constexpr int kBins = 2048, kListed = 512;
using Mass = unsigned long long;  // fixed point: sums do not depend on the order of the atomics

/// Keys: an item's distance to the largest value, in fixed point. Small is first; equal keys go by
/// id. What an item weighs is a function of its key, so order and mass never disagree.
inline constexpr std::uint32_t kAbsent = 0xFFFFFFFFu;    ///< no such item, or one without members
inline constexpr std::uint32_t kMassless = 0xFFFFFFFEu;  ///< exp(-745): zero even in float64
inline constexpr std::uint32_t kTiny = 0xFFFFFFFDu;  ///< beyond exp(-64): nothing beside the first
inline constexpr int kLeadShift = 21;                ///< the leading digit: the upper 11 bits
inline constexpr float kUnitMass = 1099511627776.f;  ///< 2^40, the largest item's mass

/// An exclusive limit: an item is taken if (key, id) comes before it.
struct Limit {
  std::uint32_t key, id;
  __device__ bool takes(std::uint32_t k, std::uint32_t i) const {
    return k < key || (k == key && i < id);
  }
};

/// Measures items. Top-p: 2^-26 per unit, masses exp(-distance). Top-k: the whole range of values
/// is spread over the keys, and every item weighs 1.
struct Ruler {
  float max, unit;
  bool count;
  int bits;  ///< of a weight relative to its leading bin, so that 32-bit sums hold every item

  __device__ Ruler(float largest, float smallest, bool by_count, int n)
      : max(largest), count(by_count), bits(15) {
    for (int rest = n >> 16; rest > 0; rest >>= 1) --bits;
    unit = !count ? 67108864.f : largest > smallest ? 4294967040.f / (largest - smallest) : 0.f;
  }
  __device__ std::uint32_t key(float value) const {
    const float delta = max - value, scaled = delta * unit;
    if (value == -INFINITY) return kAbsent;
    if (scaled <= 4294967040.f) return static_cast<std::uint32_t>(scaled);
    return count ? 0xFFFFFF00u : delta <= 745.f ? kTiny : kMassless;
  }
  /// In (0.969, 1] of 2^bits, relative to the upper edge of the leading bin; or 1.
  __device__ std::uint32_t weight(std::uint32_t key) const {
    if (count) return 1;
    const auto inside = static_cast<float>(key & ((1u << kLeadShift) - 1)) * (1.f / 67108864.f);
    return key >= kTiny
               ? 0
               : static_cast<std::uint32_t>(__expf(-inside) * static_cast<float>(1 << bits) + 0.5f);
  }
  /// A sum of weights in one leading bin as a mass.
  __device__ Mass mass(std::uint32_t weights, int bin) const {
    if (count) return weights;
    if (weights == 0) return 0;
    return static_cast<Mass>(static_cast<float>(weights) *
                             expf(-0.03125f * static_cast<float>(bin)) *
                             static_cast<float>(1ull << (40 - bits)));
  }
  /// No more items than this can stand behind such a sum.
  __device__ int at_most(std::uint32_t weights) const {
    return count ? static_cast<int>(weights)
                 : static_cast<int>(static_cast<float>(weights) / (0.968f * (1 << bits))) + 1;
  }
};

/// Keys from shared memory, or measured anew where they did not fit. Item arrays are 16-byte
/// aligned, and -infinity from n up to the next multiple of 4. Loops here stay rolled: every block
/// runs through this code once, and fetching it is a good part of the time.
struct Items {
  const float* values;    ///< global
  std::uint32_t* cached;  ///< shared, or null
  int n;

  /// Keys of items i to i + 3, i a multiple of 4; kAbsent from n on.
  __device__ uint4 four(const Ruler& ruler, int i) const {
    if (cached) return *reinterpret_cast<const uint4*>(cached + i);
    const float4 v = *reinterpret_cast<const float4*>(values + i);
    return {ruler.key(v.x), ruler.key(v.y), ruler.key(v.z), ruler.key(v.w)};
  }
  /// Calls visit(key, id) for every present item; all threads of the block share them.
  template <class Visit>
  __device__ void for_each(const Ruler& ruler, Visit visit) const {
#pragma unroll 1
    for (int i = 4 * threadIdx.x; i < n; i += 4 * block_threads()) {
      const uint4 keys = four(ruler, i);
      // Asked for now, read in the next round.
      if (!cached && i + 4 * block_threads() < n)
        asm volatile("prefetch.global.L1 [%0];" ::"l"(values + i + 4 * block_threads()));
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const std::uint32_t key = j == 0 ? keys.x : j == 1 ? keys.y : j == 2 ? keys.z : keys.w;
        if (key != kAbsent) visit(key, static_cast<std::uint32_t>(i + j));
      }
    }
  }
};

/// What the search of one of the two thresholds has come to.
struct Found {
  Mass target, below;  ///< target; mass of the bins before the one it falls into
  Limit limit;
  std::uint32_t bin, filled;
  int fine;     ///< where a long list's target lies
  int at_most;  ///< items in that bin; 0: the limit is known
};

struct SearchShared {
  std::uint32_t weights[kBins];
  struct alignas(16) Listed {
    std::uint64_t item;    // key << 32 | id
    std::uint32_t weight;  // relative to the leading bin, which all of a list share
  } listed[2][kListed];
  Mass scratch[BlockOps::kScratch];
  Found found[2];
};

/// This thread's bins of the histogram as masses, and the mass before them. `lead`: the leading bin
/// that they lie in, or -1 where they are the leading bins themselves.
inline constexpr int kBinsEach = kBins / kFewThreads;  // at most
__device__ inline Mass scan_bins(SearchShared& s, const Ruler& ruler, int lead,
                                 Mass (&mass)[kBinsEach], Mass* total) {
  Mass sum = 0;
#pragma unroll
  for (int i = 0; i < kBinsEach; ++i) {
    const int each = kBins / block_threads(), bin = threadIdx.x * each + i;
    mass[i] = i < each ? ruler.mass(s.weights[bin], lead < 0 ? bin : lead) : 0;
    sum += mass[i];
  }
  return BlockOps::exclusive_scan(sum, s.scratch, total);
}
__device__ inline void note_bin(SearchShared& s, Found& f, const Ruler& ruler, Mass at,
                                const Mass (&mass)[kBinsEach]) {
#pragma unroll
  for (int i = 0; i < kBinsEach; ++i) {
    if (at < f.target && at + mass[i] >= f.target) {
      f.bin = threadIdx.x * (kBins / block_threads()) + i, f.below = at;
      f.at_most = ruler.at_most(s.weights[f.bin]);
    }
    at += mass[i];
  }
}

__device__ inline void list_item(SearchShared& s, const Ruler& ruler, int which, std::uint32_t key,
                                 std::uint32_t id) {
  const std::uint32_t weight = ruler.weight(key);
  if (weight == 0) return;
  const std::uint32_t at = atomicAdd(&s.found[which].filled, 1u);
  if (at >= kListed) return;  // cannot be: at_most allowed it
  s.listed[which][at] = {static_cast<std::uint64_t>(key) << 32 | id, weight};
}

/// Settles the listed bins, half of the block each: the first item at which the running mass
/// reaches the target. found.limit holds the end of the bin already, in case rounding leaves the
/// sum a hair short. Every item is held against every other one; of a long list only those that lie
/// where a finer histogram says that the target does.
__device__ inline void settle(SearchShared& s, const Ruler& ruler) {
  constexpr int kLong = 96, kFine = 256;
  const int half = block_threads() / 2, which = threadIdx.x / half, mine = threadIdx.x % half;
  Found& f = s.found[which];
  const SearchShared::Listed* list = s.listed[which];
  const int filled = min(static_cast<int>(f.filled), kListed);
  const int lead = filled > 0 ? static_cast<int>(list[0].item >> (32 + kLeadShift)) : 0;
  const auto reaches = [&](std::uint32_t before, std::uint32_t weight) {
    return f.below + ruler.mass(before, lead) < f.target &&
           f.below + ruler.mass(before + weight, lead) >= f.target;
  };
  const auto fine = [](std::uint64_t item) {  // the eight bits below the leading digit
    return static_cast<int>(item >> (32 + kLeadShift - 8)) & (kFine - 1);
  };
  const bool is_long = max(s.found[0].filled, s.found[1].filled) > kLong;
  if (is_long) {
    std::uint32_t* weights = s.weights + which * kFine;
    for (int i = mine; i < kFine; i += half) weights[i] = 0;
    if (mine == 0) f.fine = -1;
    __syncthreads();
    for (int i = mine; i < filled; i += half)
      atomicAdd(weights + fine(list[i].item), list[i].weight);
    __syncthreads();
    if (mine < 32) {
      std::uint32_t sum = 0;
      for (int i = 0; i < kFine / 32; ++i) sum += weights[mine * (kFine / 32) + i];
      std::uint32_t before = sum;
      for (int d = 1; d < 32; d *= 2) {
        const std::uint32_t other = __shfl_up_sync(~0u, before, d);
        if (mine >= d) before += other;
      }
      before -= sum;
      for (int i = 0; i < kFine / 32; ++i) {
        const std::uint32_t weight = weights[mine * (kFine / 32) + i];
        if (reaches(before, weight)) f.fine = mine * (kFine / 32) + i;
        before += weight;
      }
    }
    __syncthreads();
  }
#pragma unroll 1
  for (int i = mine; i < filled; i += half) {
    const std::uint64_t item = list[i].item;
    if (is_long && fine(item) != f.fine) continue;
    std::uint32_t before = 0;
#pragma unroll 4
    for (int k = 0; k < filled; ++k) {
      const SearchShared::Listed other = list[k];
      before += other.item < item ? other.weight : 0;
    }
    if (reaches(before, list[i].weight))
      f.limit = {static_cast<std::uint32_t>(item >> 32), static_cast<std::uint32_t>(item) + 1};
  }
}

/// The rare way: the leading bin holds too many to list (equal keys, say). Finer digits of
/// (key, id), one threshold at a time. All threads; leaves found.limit.
__device__ __noinline__ inline void refine_bin(SearchShared& s, int which, Items items,
                                               Ruler ruler) {
  constexpr int kShifts[] = {42, 32, 21, 10, 0};  // of the 64 bits of key and id
  Found& f = s.found[which];
  const int lead = static_cast<int>(f.bin);
  std::uint64_t prefix = lead;
  int above = 32 + kLeadShift;
  const auto whole = [](std::uint32_t key, std::uint32_t id) {
    return static_cast<std::uint64_t>(key) << 32 | id;
  };
#pragma unroll 1
  for (const int shift : kShifts) {
    if (f.at_most <= kListed) break;
    const Mass below = f.below;
    for (int i = threadIdx.x; i < kBins; i += block_threads()) s.weights[i] = 0;
    __syncthreads();
    items.for_each(ruler, [&](std::uint32_t key, std::uint32_t id) {
      if (whole(key, id) >> above != prefix) return;
      const auto bin =
          static_cast<std::uint32_t>(whole(key, id) >> shift) & ((1u << (above - shift)) - 1);
      atomicAdd(&s.weights[bin], ruler.weight(key));
    });
    __syncthreads();
    Mass mass[kBinsEach], total;
    const Mass at = below + scan_bins(s, ruler, lead, mass, &total);
    if (threadIdx.x == 0) f.bin = kBins;  // none, if rounding left the bin short
    __syncthreads();
    note_bin(s, f, ruler, at, mass);
    __syncthreads();
    if (f.bin == kBins) break;
    prefix = prefix << (above - shift) | f.bin, above = shift;
    __syncthreads();
  }
  const std::uint64_t end = (prefix + 1) << above;
  if (threadIdx.x == 0)
    f.filled = 0,
    f.limit = {static_cast<std::uint32_t>(end >> 32), static_cast<std::uint32_t>(end)};
  __syncthreads();
  if (f.bin == kBins || f.at_most > kListed) return;
  items.for_each(ruler, [&](std::uint32_t key, std::uint32_t id) {
    if (whole(key, id) >> above == prefix) list_item(s, ruler, which, key, id);
  });
  __syncthreads();
  settle(s, ruler);  // the other one's list is empty, or settles as before
  __syncthreads();
}

}  // namespace doublep::cuda
