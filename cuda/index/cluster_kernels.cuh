// The small kernels of the cluster index. A warp works on one cluster; a lane holds every 32nd pair
// of dimensions.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "cuda/common/mma.cuh"
#include "cuda/index/cluster_build.h"

namespace doublep::cuda {

inline constexpr int kMaxPairs = 4;  // of dimensions per lane: head_dim up to 256

/// Of those, how many a head dimension has: what lacks takes no registers.
template <int kDim>
inline constexpr int kPairsOf = (kDim / 2 + 31) / 32;

/// Calls visit(i, dimension pair) for this lane's pairs of dimensions.
template <int kPairs, class Visit>
__device__ void for_lane_pairs(int head_dim, Visit visit) {
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const int pair = 32 * i + threadIdx.x % 32;
    if (2 * pair < head_dim) visit(i, pair);
  }
}

/// Two neighbouring elements of a row as they are stored.
template <class T>
using RawPair = std::conditional_t<sizeof(T) == 2, std::uint32_t, float2>;

/// A few members of a cluster at a time, so that a warp has all their rows on the way at once
/// instead of waiting for one after the other: tokens come 32 by one load. Calls
/// visit(first, tokens, count) with a token for each of kBatch places, of which `count` are members
/// in their order from place `first` on; the last one stands for those that lack.
template <int kBatch, class Visit>
__device__ void for_members(const std::int32_t* tokens, int begin, int end, Visit visit) {
  static_assert(32 % kBatch == 0);
  for (int first = begin; first < end; first += 32) {
    const int count = min(32, end - first);
    const std::int32_t mine = tokens[first + min(static_cast<int>(threadIdx.x % 32), count - 1)];
    for (int j = 0; j < count; j += kBatch) {
      std::int32_t batch[kBatch];
#pragma unroll
      for (int b = 0; b < kBatch; ++b) batch[b] = __shfl_sync(~0u, mine, min(j + b, count - 1));
      visit(first + j, batch, min(kBatch, count - j));
    }
  }
}

/// This lane's pairs of some rows, all loaded before any is looked at.
template <class T, int kPairs, int kBatch>
struct RowBatch {
  RawPair<T> raw[kBatch][kPairs];

  __device__ void load(const T* rows, const std::int32_t (&tokens)[kBatch], int head_dim) {
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const auto* row = reinterpret_cast<const RawPair<T>*>(
          rows + static_cast<std::int64_t>(tokens[b]) * head_dim);
      for_lane_pairs<kPairs>(head_dim, [&](int i, int n) { raw[b][i] = row[n]; });
    }
  }
  __device__ float2 pair(int b, int i) const {
    if constexpr (sizeof(T) == 2)
      return Packed<T>::unpack(raw[b][i]);
    else
      return raw[b][i];
  }
};

__device__ inline int global_warp() {
  return static_cast<int>((blockIdx.x * blockDim.x + threadIdx.x) / 32);
}

/// Where a clustering's points lie: 16-bit keys, and for a spherical one the mean that is taken off
/// them.
template <class T>
struct Points {
  const T* keys;            ///< [pairs, key_stride / head_dim, head_dim]
  std::int64_t key_stride;  ///< elements between pairs
  int head_dim, clusters;   ///< clusters of a pair
  const float* means;       ///< [pairs, head_dim]; null: Euclidean, on the keys as they are

  /// This lane's part of the mean; zero where there is none.
  template <int kPairs>
  __device__ void load_mean(int pair, float2 (&mean)[kPairs]) const {
    for_lane_pairs<kPairs>(head_dim, [&](int i, int n) {
      mean[i] =
          means ? load_pair(means + static_cast<std::int64_t>(pair) * head_dim, n) : float2{0, 0};
    });
  }
};

/// 1 / |sum|, or 0 for a zero vector.
template <int kPairs>
__device__ float inverse_norm(const float2 (&sum)[kPairs], int d) {
  float squares = 0;
  for_lane_pairs<kPairs>(d,
                         [&](int i, int) { squares += sum[i].x * sum[i].x + sum[i].y * sum[i].y; });
  squares = warp_sum(squares);
  return squares > 0 ? rsqrtf(squares) : 0.f;
}

/// Writes a centroid in 16 bits, and what a dot product with it lacks to order points by distance:
/// half the squared norm of what was written, and the mean's product with it, since
/// (k - m).c = k.c - m.c. T is 16-bit.
template <class T, int kPairs>
__device__ void store_centroid(const float2 (&sum)[kPairs], float factor,
                               const float2 (&mean)[kPairs], int d, T* row, float* half_norm) {
  float norm = 0, offset = 0;
  for_lane_pairs<kPairs>(d, [&](int i, int pair) {
    store_pair(row, pair, {sum[i].x * factor, sum[i].y * factor});
    const float2 v = load_pair(row, pair);
    norm += v.x * v.x + v.y * v.y;
    offset += v.x * mean[i].x + v.y * mean[i].y;
  });
  norm = warp_sum(norm), offset = warp_sum(offset);
  if (threadIdx.x % 32 == 0) *half_norm = 0.5f * norm + offset;
}

/// Tokens of each segment, as `first` names them, or evenly spaced where it is null. grid: warps
/// over clusters; blockIdx.y: KV head.
template <class T>
__global__ void first_centroids(Points<T> p, const Segment* segments, int num_segments,
                                const std::int32_t* first, T* centroids, float* half_norms) {
  const int cluster = global_warp(), d = p.head_dim;
  if (cluster >= p.clusters) return;
  Segment s = segments[0];
  for (int i = 1; i < num_segments && segments[i].cluster <= cluster; ++i) s = segments[i];
  const auto point =
      first ? first[cluster]
            : static_cast<int>(static_cast<double>(cluster - s.cluster) * s.points / s.clusters);
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.y) * p.clusters + cluster;
  const T* row =
      p.keys + blockIdx.y * p.key_stride + static_cast<std::int64_t>(s.point + point) * d;
  float2 mean[kMaxPairs], sum[kMaxPairs];
  p.load_mean(blockIdx.y, mean);
  for_lane_pairs<kMaxPairs>(d, [&](int i, int pair) {
    sum[i] = load_pair(row, pair);
    sum[i].x -= mean[i].x, sum[i].y -= mean[i].y;
  });
  store_centroid(sum, p.means ? inverse_norm(sum, d) : 1.f, mean, d, centroids + at * d,
                 half_norms + at);
}

/// Means of the members, or their directions; without a member the old centroid stays. One warp per
/// (KV head, cluster).
template <class T, int kPairs>
__global__ void move_centroids(Points<T> p, int total, const std::int32_t* starts,
                               const std::int32_t* tokens, T* centroids, float* half_norms) {
  constexpr int kBatch = 8;
  const int at = global_warp(), d = p.head_dim;
  if (at >= total) return;
  const int begin = starts[at], end = starts[at + 1];
  if (begin == end) return;
  const T* base = p.keys + at / p.clusters * p.key_stride;
  float2 mean[kPairs], sum[kPairs] = {};
  p.load_mean(at / p.clusters, mean);
  for_members<kBatch>(tokens, begin, end, [&](int, const auto& batch, int count) {
    RowBatch<T, kPairs, kBatch> rows;
    rows.load(base, batch, d);
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (b >= count) break;
      for_lane_pairs<kPairs>(d, [&](int i, int) {
        const float2 v = rows.pair(b, i);
        sum[i].x += v.x - mean[i].x, sum[i].y += v.y - mean[i].y;
      });
    }
  });
  const float factor = p.means ? inverse_norm(sum, d) : 1.f / static_cast<float>(end - begin);
  if (factor == 0) return;  // members that cancel out point nowhere
  store_centroid(sum, factor, mean, d, centroids + static_cast<std::int64_t>(at) * d,
                 half_norms + at);
}

/// What the decode step reads, and the cache in cluster order. One warp per (KV head, cluster).
template <class T, int kPairs>
__global__ void finish_clusters(ClusterBuildParams p, int clusters, int total,
                                const std::int32_t* starts, const std::int32_t* tokens) {
  constexpr int kBatch = 4;
  const int at = global_warp(), d = p.head_dim, lane = threadIdx.x % 32;
  if (at >= total) return;
  const int pair = at / clusters, cluster = at % clusters, begin = starts[at], end = starts[at + 1];
  const int first_row = p.begin + begin - pair * p.points;
  const std::int64_t slot = pair * p.cluster_capacity + cluster;
  const std::int64_t source = pair * p.source_capacity + p.source_begin;
  const std::int64_t out = pair * p.out_capacity;
  const T* keys = static_cast<const T*>(p.keys) + source * d;
  const T* values = static_cast<const T*>(p.values) + source * d;
  T* out_keys = static_cast<T*>(p.out_keys) + (out + first_row) * d;
  T* out_values = static_cast<T*>(p.out_values) + (out + first_row) * d;
  // The spread about the mean, from that about the first member: keys are read once, and nothing
  // cancels where clusters are far from the origin.
  float2 key_sum[kPairs] = {}, value_sum[kPairs] = {}, origin[kPairs] = {}, away[kPairs] = {};
  float squares = 0;
  for_members<kBatch>(tokens, begin, end, [&](int first, const auto& batch, int count) {
    RowBatch<T, kPairs, kBatch> key, value;
    key.load(keys, batch, d);
    value.load(values, batch, d);
    if (first == begin) for_lane_pairs<kPairs>(d, [&](int i, int) { origin[i] = key.pair(0, i); });
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (b >= count) break;
      const std::int64_t to = static_cast<std::int64_t>(first - begin + b) * d;
      for_lane_pairs<kPairs>(d, [&](int i, int n) {
        reinterpret_cast<RawPair<T>*>(out_keys + to)[n] = key.raw[b][i];
        reinterpret_cast<RawPair<T>*>(out_values + to)[n] = value.raw[b][i];
        const float2 k = key.pair(b, i), v = value.pair(b, i);
        const float2 from_origin = {k.x - origin[i].x, k.y - origin[i].y};
        key_sum[i].x += k.x, key_sum[i].y += k.y, value_sum[i].x += v.x, value_sum[i].y += v.y;
        away[i].x += from_origin.x, away[i].y += from_origin.y;
        squares += from_origin.x * from_origin.x + from_origin.y * from_origin.y;
      });
    }
  });
  for (int j = begin + lane; j < end; j += 32)
    p.order[out + first_row + j - begin] = p.begin + tokens[j];
  const float inverse = end > begin ? 1.f / static_cast<float>(end - begin) : 0.f;
  for_lane_pairs<kPairs>(d, [&](int i, int n) {
    store_pair(static_cast<T*>(p.centroids) + slot * d, n,
               {key_sum[i].x * inverse, key_sum[i].y * inverse});
    store_pair(static_cast<T*>(p.mean_values) + slot * d, n,
               {value_sum[i].x * inverse, value_sum[i].y * inverse});
    squares -= (away[i].x * away[i].x + away[i].y * away[i].y) * inverse;
  });
  squares = warp_sum(squares);
  if (squares < 0) squares = 0;  // by rounding; not a number stays one
  if (lane == 0) {
    p.meta[slot] = {end > begin ? logf(static_cast<float>(end - begin)) : -INFINITY,
                    squares * inverse / static_cast<float>(d)};
    p.offsets[pair * (p.cluster_capacity + 1) + cluster] = first_row;
  }
  if (cluster == clusters - 1)
    for (std::int64_t i = clusters + lane; i <= p.cluster_room; i += 32)
      p.offsets[pair * (p.cluster_capacity + 1) + i] = p.begin + p.points;
}

/// starts[i]: the first place of label i or above in the sorted labels.
static __global__ void find_starts(const std::uint32_t* sorted, int n, int labels,
                                   std::int32_t* starts) {
  const int label = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (label > labels) return;
  int low = 0, high = n;
  while (low < high) {
    const int middle = low + (high - low) / 2;
    if (sorted[middle] < static_cast<std::uint32_t>(label))
      low = middle + 1;
    else
      high = middle;
  }
  starts[label] = low;
}

/// values[i] = i modulo `period`.
static __global__ void count_up(std::int32_t* values, std::int64_t n, std::int64_t period) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) values[i] = static_cast<std::int32_t>(i % period);
}

/// float32 keys to bfloat16, packed. grid.y: KV head.
static __global__ void narrow_keys(const float* keys, std::int64_t key_stride, std::int64_t count,
                                   std::uint16_t* out) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const __nv_bfloat16 v = __float2bfloat16_rn(keys[blockIdx.y * key_stride + i]);
  out[blockIdx.y * count + i] = reinterpret_cast<const std::uint16_t&>(v);
}

// Mean key of every KV head, in an order of summation that does not depend on the schedule.

inline constexpr int kMeanParts = 64;  // of a KV head's points: enough blocks to fill the chip

/// grid (kMeanParts, pairs), a thread per pair of dimensions. sums: [pairs, kMeanParts, head_dim]
template <class T>
__global__ void partial_sums(Points<T> p, std::int32_t points, float* sums) {
  const int d = p.head_dim;
  if (static_cast<int>(2 * threadIdx.x) >= d) return;
  const T* keys = p.keys + blockIdx.y * p.key_stride;
  float2 sum = {0, 0};
#pragma unroll 8
  for (std::int32_t j = blockIdx.x; j < points; j += kMeanParts) {
    const float2 v = load_pair(keys + static_cast<std::int64_t>(j) * d, threadIdx.x);
    sum.x += v.x, sum.y += v.y;
  }
  store_pair(sums + (blockIdx.y * static_cast<std::int64_t>(kMeanParts) + blockIdx.x) * d,
             threadIdx.x, sum);
}

/// grid (1, pairs), a thread per dimension. means: [pairs, head_dim]
static __global__ void finish_means(const float* sums, int d, std::int32_t points, float* means) {
  const int i = threadIdx.x;
  if (i >= d) return;
  double sum = 0;
  for (int part = 0; part < kMeanParts; ++part)
    sum += sums[(blockIdx.y * static_cast<std::int64_t>(kMeanParts) + part) * d + i];
  means[blockIdx.y * d + i] = static_cast<float>(sum / points);
}

}  // namespace doublep::cuda
