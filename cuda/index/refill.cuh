// What becomes of a cluster that lost all its members: it moves to the point farthest from its
// centroid, as in core's kmeans.
#pragma once

#include "cuda/index/cluster_kernels.cuh"

namespace doublep::cuda {

inline constexpr int kRefillThreads = 1024;

/// The farthest of a block's candidates, the first of equally far ones.
struct Farthest {
  float distance = 0;  ///< squared; 0: none, a point on its centroid helps nobody
  int point = 0x7FFFFFFF;

  __device__ void take(float other, int at) {
    if (other > distance || (other == distance && at < point && other > 0))
      distance = other, point = at;
  }
  __device__ void reduce_warp() {
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      const float other = __shfl_xor_sync(~0u, distance, lanes);
      const int at = __shfl_xor_sync(~0u, point, lanes);
      take(other, at);
    }
  }
};

/// grid (segments, pairs), kRefillThreads threads. Between assignment and move: reads the centroids
/// that points were assigned to, writes those without members. A point helps one cluster at most.
/// labels: [pairs, points] as AssignParams has them; distances: workspace of the same shape.
template <class T, int kPairs>
__global__ void __launch_bounds__(kRefillThreads)
    refill_empty(Points<T> p, const Segment* segments, std::int32_t points,
                 const std::int32_t* starts, const std::uint32_t* labels, float* distances,
                 T* centroids, float* half_norms) {
  const Segment s = segments[blockIdx.x];
  const int pair = blockIdx.y, d = p.head_dim, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const std::int64_t first = static_cast<std::int64_t>(pair) * p.clusters + s.cluster;
  const auto is_empty = [&](int c) {
    return c < s.clusters && starts[first + c] == starts[first + c + 1];
  };
  bool any = false;
  for (int c = threadIdx.x; c < s.clusters; c += kRefillThreads) any |= is_empty(c);
  if (!__syncthreads_or(any)) return;

  const T* keys = p.keys + pair * p.key_stride + static_cast<std::int64_t>(s.point) * d;
  const std::int64_t at = static_cast<std::int64_t>(pair) * points + s.point;
  float* mine = distances + at;
  float2 mean[kPairs];
  p.load_mean(pair, mean);
  constexpr int kWarps = kRefillThreads / 32;
  constexpr int kBatch = kPairs > 2 ? 4 : 8;  // a warp's rows that are on their way at once
  for (int j = warp; j < s.points; j += kBatch * kWarps) {
    std::int32_t rows[kBatch], nearest[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      rows[b] = min(j + b * kWarps, s.points - 1);
      nearest[b] = static_cast<std::int32_t>(labels[at + rows[b]]);
    }
    RowBatch<T, kPairs, kBatch> key, centroid;
    key.load(keys, rows, d);
    centroid.load(centroids, nearest, d);
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      float squares = 0;
      for_lane_pairs<kPairs>(d, [&](int i, int) {
        const float2 k = key.pair(b, i), c = centroid.pair(b, i);
        const float x = k.x - mean[i].x - c.x, y = k.y - mean[i].y - c.y;
        squares += x * x + y * y;
      });
      squares = warp_sum(squares);
      if (lane == 0 && j + b * kWarps < s.points) mine[rows[b]] = squares;
    }
  }
  __syncthreads();

  __shared__ std::uint32_t empty[kRefillThreads / 32];
  __shared__ Farthest shared[kRefillThreads / 32];
  Farthest own;  // of every kRefillThreads-th point
  const auto look = [&] {
    own = Farthest();
#pragma unroll 8
    for (int j = threadIdx.x; j < s.points; j += kRefillThreads) own.take(mine[j], j);
  };
  look();
  for (int base = 0; base < s.clusters; base += kRefillThreads) {
    const std::uint32_t ballot = __ballot_sync(~0u, is_empty(base + threadIdx.x));
    __syncthreads();  // the words before have been read
    if (lane == 0) empty[warp] = ballot;
    __syncthreads();
    for (int word = 0; word < kRefillThreads / 32; ++word)
      for (std::uint32_t rest = empty[word]; rest != 0; rest &= rest - 1) {
        Farthest best = own;
        best.reduce_warp();
        __syncthreads();  // the round before has been read
        if (lane == 0) shared[warp] = best;
        __syncthreads();
        best = shared[lane];
        best.reduce_warp();
        if (best.distance <= 0) return;  // the same in every thread
        if (warp == 0) {
          const T* key = keys + static_cast<std::int64_t>(best.point) * d;
          float2 sum[kPairs];
          for_lane_pairs<kPairs>(d, [&](int i, int n) {
            sum[i] = load_pair(key, n);
            sum[i].x -= mean[i].x, sum[i].y -= mean[i].y;
          });
          const std::int64_t cluster = first + base + 32 * word + __ffs(rest) - 1;
          store_centroid(sum, p.means ? inverse_norm(sum, d) : 1.f, mean, d,
                         centroids + cluster * d, half_norms + cluster);
        }
        if (static_cast<int>(threadIdx.x) == best.point % kRefillThreads) {
          mine[best.point] = 0;
          look();
        }
      }
  }
}

}  // namespace doublep::cuda
