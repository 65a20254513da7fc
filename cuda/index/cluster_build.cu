#include <algorithm>
#include <bit>
#include <cstring>
#include <cub/device/device_radix_sort.cuh>

#include "cuda/common/launch.h"
#include "cuda/index/cluster_build.h"
#include "cuda/index/cluster_kernels.cuh"
#include "cuda/index/refill.cuh"
#include "cuda/index/stages.h"

namespace doublep::cuda {
namespace {

unsigned blocks_for(std::int64_t work, int per_block) {
  return static_cast<unsigned>((work + per_block - 1) / per_block);
}
constexpr int kThreads = 256, kWarps = kThreads / 32;

}  // namespace

ClusterBuilder::ClusterBuilder(DType dtype, int pairs, int head_dim, std::int64_t points,
                               std::int64_t clusters)
    : centroids_(pairs * clusters * head_dim),
      half_norms_(pairs * clusters),
      distances_(pairs * points),
      mean_parts_(static_cast<std::size_t>(pairs) * kMeanParts * head_dim),
      means_(static_cast<std::size_t>(pairs) * head_dim),
      labels_(pairs * points),
      sorted_(pairs * points),
      tokens_(pairs * points),
      sorted_tokens_(pairs * points),
      starts_(pairs * clusters + 1),
      segments_(clusters + 1) {
  if (dtype == DType::kFp32) narrow_keys_.resize(pairs * points * head_dim);
  if (pairs * points > 0) {
    DP_CUDA(cub::DeviceRadixSort::SortPairs(nullptr, sort_bytes_, labels_.get(), sorted_.get(),
                                            tokens_.get(), sorted_tokens_.get(),
                                            static_cast<int>(pairs * points)));
    sort_space_.resize(sort_bytes_);
  }
}

/// To the device, unless it is there already.
template <class T>
void ClusterBuilder::send(DeviceBuffer<T>& to, std::vector<T>& held, const T* from,
                          std::size_t count, cudaStream_t stream) {
  if (held.size() == count && std::memcmp(held.data(), from, count * sizeof(T)) == 0) return;
  if (to.size() < count) to.resize(count);
  held.assign(from, from + count);
  DP_CUDA(cudaMemcpyAsync(to.get(), from, count * sizeof(T), cudaMemcpyHostToDevice, stream));
}

void ClusterBuilder::sort(const ClusterBuildParams& p, int clusters, cudaStream_t stream) {
  const int n = p.pairs * p.points, labels = p.pairs * clusters;
  const int bits = std::max(1, static_cast<int>(std::bit_width(labels - 1u)));
  // Stable: the members of a cluster stay in the order of the tokens.
  DP_CUDA(cub::DeviceRadixSort::SortPairs(sort_space_.get(), sort_bytes_, labels_.get(),
                                          sorted_.get(), tokens_.get(), sorted_tokens_.get(), n, 0,
                                          bits, stream));
  launch({dim3(blocks_for(labels + 1, kThreads)), dim3(kThreads), 0, stream}, find_starts,
         static_cast<const std::uint32_t*>(sorted_.get()), n, labels, starts_.get());
}

void ClusterBuilder::write_clusters(const ClusterBuildParams& p, int clusters,
                                    cudaStream_t stream) {
  const int total = p.pairs * clusters;
  const LaunchConfig config{dim3(blocks_for(total, kWarps)), dim3(kThreads), 0, stream};
  const std::int32_t *starts = starts_.get(), *tokens = sorted_tokens_.get();
  for_head_dim(p.head_dim, [&]<int kDim>(std::integral_constant<int, kDim>) {
    constexpr int kPairs = kPairsOf<kDim>;
    switch (p.dtype) {
      case DType::kFp32:
        return launch(config, finish_clusters<float, kPairs>, p, clusters, total, starts, tokens);
      case DType::kFp16:
        return launch(config, finish_clusters<__half, kPairs>, p, clusters, total, starts, tokens);
      case DType::kBf16:
        return launch(config, finish_clusters<__nv_bfloat16, kPairs>, p, clusters, total, starts,
                      tokens);
    }
  });
}

void ClusterBuilder::finish(const ClusterBuildParams& p, int clusters, cudaStream_t stream) {
  write_clusters(p, clusters, stream);
  if (!p.value_map && !p.key_shape) return;
  const auto space = static_cast<std::size_t>(pooled_moments_space(p));
  if (map_space_.size() < space) map_space_.resize(space);
  build_pooled_moments(p, clusters, sorted_.get(), map_space_.get(), stream);
}

void ClusterBuilder::assign(const ClusterBuildParams& p, const std::int32_t* labels, int clusters,
                            cudaStream_t stream) {
  const std::int64_t n = static_cast<std::int64_t>(p.pairs) * p.points;
  std::vector<std::uint32_t> global(n);
  for (std::int64_t i = 0; i < n; ++i)
    global[i] = static_cast<std::uint32_t>(i / p.points * clusters + labels[i]);
  labels_.upload(global);
  launch({dim3(blocks_for(n, kThreads)), dim3(kThreads), 0, stream}, count_up, tokens_.get(), n,
         static_cast<std::int64_t>(p.points));
  sort(p, clusters, stream);
  finish(p, clusters, stream);
}

template <class T>
void ClusterBuilder::lloyd(const ClusterBuildParams& p, const std::vector<Segment>& segments,
                           const LloydOptions& options, cudaStream_t stream) {
  const bool spherical = options.spherical;
  const int clusters = total_clusters(segments), total = p.pairs * clusters, d = p.head_dim;
  const auto num_segments = static_cast<unsigned>(segments.size());
  AssignParams a;
  a.dtype = p.dtype == DType::kFp16 ? DType::kFp16 : DType::kBf16;
  a.pairs = p.pairs, a.head_dim = d, a.clusters = clusters, a.points = p.points;
  a.keys =
      static_cast<const std::uint16_t*>(p.keys) + static_cast<std::int64_t>(p.source_begin) * d;
  a.key_stride = p.source_capacity * d;
  if (p.dtype == DType::kFp32) {
    const std::int64_t count = static_cast<std::int64_t>(p.points) * d;
    launch({dim3(blocks_for(count, kThreads), p.pairs), dim3(kThreads), 0, stream}, narrow_keys,
           static_cast<const float*>(p.keys) + static_cast<std::int64_t>(p.source_begin) * d,
           p.source_capacity * d, count, narrow_keys_.get());
    a.keys = narrow_keys_.get(), a.key_stride = count;
  }
  if (options.warp) {
    const auto floats = static_cast<std::size_t>(options.warps) * d * d;
    if (warp_.size() < floats) warp_.resize(floats);
    if (warped_keys_.size() == 0) warped_keys_.resize(distances_.size() * d);
    DP_CUDA(cudaMemcpyAsync(warp_.get(), options.warp, floats * sizeof(float),
                            cudaMemcpyHostToDevice, stream));
    warp_keys({a.dtype, p.pairs, d, p.points, a.keys, a.key_stride, warp_.get(), warped_keys_.get(),
               options.warps},
              stream);
    a.keys = warped_keys_.get(), a.key_stride = static_cast<std::int64_t>(p.points) * d;
  }
  const std::int32_t* first = nullptr;
  if (options.first) {
    send(first_, held_first_, options.first, clusters, stream);
    first = first_.get();
  }
  a.centroids = centroids_.get(), a.half_norms = half_norms_.get(), a.labels = labels_.get();
  a.segments = segments_.get(), a.num_segments = static_cast<int>(num_segments);
  for (const Segment& s : segments) a.max_segment = std::max(a.max_segment, s.points);

  const Points<T> points{reinterpret_cast<const T*>(a.keys), a.key_stride, d, clusters,
                         spherical ? means_.get() : nullptr};
  T* centroids = reinterpret_cast<T*>(centroids_.get());
  if (spherical) {
    launch({dim3(kMeanParts, p.pairs), dim3(kMaxPairs * 32), 0, stream}, partial_sums<T>, points,
           p.points, mean_parts_.get());
    launch({dim3(1, p.pairs), dim3(kMaxPairs * 64), 0, stream}, finish_means,
           static_cast<const float*>(mean_parts_.get()), d, p.points, means_.get());
  }
  launch({dim3(blocks_for(clusters, kWarps), p.pairs), dim3(kThreads), 0, stream},
         first_centroids<T>, points, a.segments, a.num_segments, first, centroids,
         half_norms_.get());
  const std::int32_t *starts = starts_.get(), *tokens = sorted_tokens_.get();
  for (int i = 0; i < options.iterations; ++i) {
    const bool last = i + 1 == options.iterations;
    assign_nearest(a, stream);
    sort(p, clusters, stream);
    for_head_dim(d, [&]<int kDim>(std::integral_constant<int, kDim>) {
      constexpr int kPairs = kPairsOf<kDim>;
      if (!last)  // a cluster moved by the last one would have no member to show for it
        launch({dim3(num_segments, p.pairs), dim3(kRefillThreads), 0, stream},
               refill_empty<T, kPairs>, points, a.segments, p.points, starts,
               static_cast<const std::uint32_t*>(labels_.get()), distances_.get(), centroids,
               half_norms_.get());
      if (!last || spherical)  // a Euclidean one's last move happens in finish, in full precision
        launch({dim3(blocks_for(total, kWarps)), dim3(kThreads), 0, stream},
               move_centroids<T, kPairs>, points, total, starts, tokens, centroids,
               half_norms_.get());
    });
  }
  if (!spherical) return;
  a.segments += num_segments, a.num_segments = 1, a.max_segment = p.points;
  assign_nearest(a, stream);
  sort(p, clusters, stream);
}

void ClusterBuilder::cluster(const ClusterBuildParams& p, const std::vector<Segment>& segments,
                             const LloydOptions& options, cudaStream_t stream) {
  const int clusters = total_clusters(segments);
  if (clusters == 0 || p.points == 0) return;
  std::vector<Segment> all = segments;
  all.push_back({0, p.points, 0, clusters});
  send(segments_, held_segments_, all.data(), all.size(), stream);
  const std::int64_t n = static_cast<std::int64_t>(p.pairs) * p.points;
  launch({dim3(blocks_for(n, kThreads)), dim3(kThreads), 0, stream}, count_up, tokens_.get(), n,
         static_cast<std::int64_t>(p.points));
  if (p.dtype == DType::kFp16)
    lloyd<__half>(p, segments, options, stream);
  else
    lloyd<__nv_bfloat16>(p, segments, options, stream);
  finish(p, clusters, stream);
}

}  // namespace doublep::cuda
