// The small kernels of the cluster index. A warp works on one cluster; a lane holds every 32nd pair
// of dimensions.
#pragma once

#include <cmath>

#include "cuda/common/mma.cuh"
#include "cuda/index/cluster_build.h"

namespace doublep::cuda {

inline constexpr int kMaxPairs = 4;  // of dimensions per lane: head_dim up to 256

/// Calls visit(i, dimension pair) for this lane's pairs of dimensions.
template <class Visit>
__device__ void for_lane_pairs(int head_dim, Visit visit) {
#pragma unroll
  for (int i = 0; i < kMaxPairs; ++i) {
    const int pair = 32 * i + threadIdx.x % 32;
    if (2 * pair < head_dim) visit(i, pair);
  }
}

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
  __device__ void load_mean(int pair, float2 (&mean)[kMaxPairs]) const {
    for_lane_pairs(head_dim, [&](int i, int n) {
      mean[i] =
          means ? load_pair(means + static_cast<std::int64_t>(pair) * head_dim, n) : float2{0, 0};
    });
  }
};

/// 1 / |sum|, or 0 for a zero vector.
__device__ inline float inverse_norm(const float2 (&sum)[kMaxPairs], int d) {
  float squares = 0;
  for_lane_pairs(d, [&](int i, int) { squares += sum[i].x * sum[i].x + sum[i].y * sum[i].y; });
  squares = warp_sum(squares);
  return squares > 0 ? rsqrtf(squares) : 0.f;
}

/// Writes a centroid in 16 bits, and what a dot product with it lacks to order points by distance:
/// half the squared norm of what was written, and the mean's product with it, since
/// (k - m).c = k.c - m.c. T is 16-bit.
template <class T>
__device__ void store_centroid(const float2 (&sum)[kMaxPairs], float factor,
                               const float2 (&mean)[kMaxPairs], int d, T* row, float* half_norm) {
  float norm = 0, offset = 0;
  for_lane_pairs(d, [&](int i, int pair) {
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
  for_lane_pairs(d, [&](int i, int pair) {
    sum[i] = load_pair(row, pair);
    sum[i].x -= mean[i].x, sum[i].y -= mean[i].y;
  });
  store_centroid(sum, p.means ? inverse_norm(sum, d) : 1.f, mean, d, centroids + at * d,
                 half_norms + at);
}

/// Means of the members, or their directions; without a member the old centroid stays. One warp per
/// (KV head, cluster).
template <class T>
__global__ void move_centroids(Points<T> p, int total, const std::int32_t* starts,
                               const std::int32_t* tokens, T* centroids, float* half_norms) {
  const int at = global_warp(), d = p.head_dim;
  if (at >= total) return;
  const int begin = starts[at], end = starts[at + 1];
  if (begin == end) return;
  const T* base = p.keys + at / p.clusters * p.key_stride;
  float2 mean[kMaxPairs], sum[kMaxPairs] = {};
  p.load_mean(at / p.clusters, mean);
#pragma unroll 4
  for (int j = begin; j < end; ++j) {
    const T* row = base + static_cast<std::int64_t>(tokens[j]) * d;
    for_lane_pairs(d, [&](int i, int pair) {
      const float2 v = load_pair(row, pair);
      sum[i].x += v.x - mean[i].x, sum[i].y += v.y - mean[i].y;
    });
  }
  const float factor = p.means ? inverse_norm(sum, d) : 1.f / static_cast<float>(end - begin);
  if (factor == 0) return;  // members that cancel out point nowhere
  store_centroid(sum, factor, mean, d, centroids + static_cast<std::int64_t>(at) * d,
                 half_norms + at);
}

/// What the decode step reads, and the cache in cluster order. One warp per (KV head, cluster).
template <class T>
__global__ void finish_clusters(ClusterBuildParams p, int clusters, int total,
                                const std::int32_t* starts, const std::int32_t* tokens) {
  const int at = global_warp(), d = p.head_dim, lane = threadIdx.x % 32;
  if (at >= total) return;
  const int pair = at / clusters, cluster = at % clusters, begin = starts[at], end = starts[at + 1];
  const int first_row = p.begin + begin - pair * p.points;
  const std::int64_t slot = pair * p.cluster_capacity + cluster;
  const std::int64_t source = pair * p.source_capacity + p.source_begin;
  const std::int64_t out = pair * p.out_capacity;
  const T* keys = static_cast<const T*>(p.keys) + source * d;
  const T* values = static_cast<const T*>(p.values) + source * d;
  float2 key_mean[kMaxPairs] = {}, value_mean[kMaxPairs] = {};
  for (int j = begin; j < end; ++j) {
    const std::int64_t from = static_cast<std::int64_t>(tokens[j]) * d;
    const std::int64_t to = (out + first_row + j - begin) * d;
    for_lane_pairs(d, [&](int i, int n) {
      const float2 k = load_pair(keys + from, n), v = load_pair(values + from, n);
      key_mean[i].x += k.x, key_mean[i].y += k.y, value_mean[i].x += v.x, value_mean[i].y += v.y;
      store_pair(static_cast<T*>(p.out_keys) + to, n, k);
      store_pair(static_cast<T*>(p.out_values) + to, n, v);
    });
    if (lane == 0) p.order[out + first_row + j - begin] = p.begin + tokens[j];
  }
  const float inverse = end > begin ? 1.f / static_cast<float>(end - begin) : 0.f;
  for_lane_pairs(d, [&](int i, int n) {
    key_mean[i].x *= inverse, key_mean[i].y *= inverse;
    store_pair(static_cast<T*>(p.centroids) + slot * d, n, key_mean[i]);
    store_pair(static_cast<T*>(p.mean_values) + slot * d, n,
               {value_mean[i].x * inverse, value_mean[i].y * inverse});
  });
  float squares = 0;
  for (int j = begin; j < end; ++j)
    for_lane_pairs(d, [&](int i, int n) {
      const float2 k = load_pair(keys + static_cast<std::int64_t>(tokens[j]) * d, n);
      squares += (k.x - key_mean[i].x) * (k.x - key_mean[i].x) +
                 (k.y - key_mean[i].y) * (k.y - key_mean[i].y);
    });
  squares = warp_sum(squares);
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
