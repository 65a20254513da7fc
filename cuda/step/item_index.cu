#include <algorithm>
#include <numeric>
#include <vector>

#include "cuda/step/item_index.h"

namespace doublep::cuda {

ItemIndex::ItemIndex(const Cache& cache, std::int64_t capacity, bool mean_values, bool nibbles)
    : capacity_((std::max<std::int64_t>(capacity, 1) + 15) / 16 * 16),
      row_bytes_(cache.row_bytes()),
      rows_(cache.shape().pairs * capacity_ * row_bytes_),
      meta_(cache.shape().pairs * capacity_),
      offsets_(cache.shape().pairs * (capacity_ + 1)),
      num_items_(cache.shape().pairs) {
  num_items_.zero(), meta_.zero(), offsets_.zero();  // kernels read up to the padding
  if (mean_values) others_.resize(rows_.size());
  if (nibbles) {
    const std::int64_t rows = cache.shape().pairs * cache.capacity();
    codes_.resize(rows * cache.shape().head_dim / 8), scales_.resize(rows);
  }
}

namespace {

/// Rows [first, first + rows) of every KV head of a sequence, unchanged in place and order.
void copy_rows(Cache& cache, std::int64_t pair, const void* keys, const void* values,
               std::int64_t source_capacity, std::int64_t first, std::int64_t rows,
               cudaStream_t stream) {
  if (rows <= 0) return;
  const std::int64_t bytes = cache.row_bytes(), at = first * bytes;
  const auto copy = [&](void* to, const void* from) {
    DP_CUDA(cudaMemcpy2DAsync(static_cast<char*>(to) + at, cache.capacity() * bytes,
                              static_cast<const char*>(from) + at, source_capacity * bytes,
                              rows * bytes, cache.shape().kv_heads, cudaMemcpyDefault, stream));
  };
  copy(cache.keys(pair), keys);
  copy(cache.values(pair), values);
}

}  // namespace

void ItemIndex::build_clusters(Cache& cache, int sequence, const void* keys, const void* values,
                               std::int64_t source_capacity, std::int32_t sink_end,
                               std::int32_t tail_begin, std::int32_t length,
                               const Clustering& options, cudaStream_t stream) {
  const int heads = cache.shape().kv_heads;
  const std::int64_t pair = static_cast<std::int64_t>(sequence) * heads;
  const std::int32_t points = tail_begin - sink_end;
  const auto segments =
      options.labels
          ? std::vector<Segment>{{0, points, 0, static_cast<int>(options.clusters)}}
          : make_segments(points, options.tokens_per_cluster, options.clusters, options.segment);
  const int clusters = points > 0 ? total_clusters(segments) : 0;
  if (clusters > capacity_) throw CudaError("the index has no room for so many clusters");

  copy_rows(cache, pair, keys, values, source_capacity, 0, sink_end, stream);
  copy_rows(cache, pair, keys, values, source_capacity, tail_begin, length - tail_begin, stream);
  std::vector<std::int32_t> order(length);
  std::iota(order.begin(), order.end(), 0);
  for (int h = 0; h < heads; ++h)
    DP_CUDA(cudaMemcpyAsync(cache.order(pair + h), order.data(), length * sizeof(std::int32_t),
                            cudaMemcpyHostToDevice, stream));
  const std::vector<std::int32_t> counts(heads, clusters);
  num_items_.upload(counts.data(), heads, pair);
  if (clusters > 0) {
    if (!builder_ || points > builder_points_ || clusters > builder_clusters_) {
      builder_points_ = points, builder_clusters_ = clusters;
      builder_ = std::make_unique<ClusterBuilder>(cache.dtype(), heads, cache.shape().head_dim,
                                                  points, clusters);
    }
    ClusterBuildParams p;
    p.dtype = cache.dtype(), p.pairs = heads, p.head_dim = cache.shape().head_dim;
    p.keys = keys, p.values = values, p.source_capacity = source_capacity;
    p.begin = sink_end, p.points = points;
    p.out_keys = cache.keys(pair), p.out_values = cache.values(pair);
    p.out_capacity = cache.capacity(), p.order = cache.order(pair);
    p.centroids = rows(pair), p.mean_values = others(pair), p.meta = meta(pair);
    p.offsets = offsets(pair), p.cluster_capacity = capacity_;
    if (options.labels)
      builder_->assign(p, options.labels, clusters, stream);
    else
      builder_->cluster(p, segments, options.iterations, stream);
  }
  cache.set_zones(sequence, sink_end, tail_begin, length);
}

void ItemIndex::build_pages(Cache& cache, int sequence, cudaStream_t stream) {
  const int heads = cache.shape().kv_heads;
  const std::int64_t pair = static_cast<std::int64_t>(sequence) * heads;
  const std::int32_t length = cache.host_length(sequence), pages = length / kTile;
  if (pages > capacity_) throw CudaError("the index has no room for so many pages");
  PageParams p;
  p.dtype = cache.dtype(), p.pairs = heads, p.head_dim = cache.shape().head_dim;
  p.keys = cache.keys(pair), p.capacity = cache.capacity(), p.pages = pages;
  p.highs = rows(pair), p.lows = others(pair), p.offsets = offsets(pair);
  p.page_capacity = capacity_;
  if (pages > 0) doublep::cuda::build_pages(p, stream);
  const std::vector<std::int32_t> counts(heads, pages);
  num_items_.upload(counts.data(), heads, pair);
  cache.set_zones(sequence, 0, pages * kTile, length);  // an unfinished page is always attended
  if (codes_.size() == 0) return;
  NibbleParams n;
  n.dtype = cache.dtype(), n.pairs = heads, n.head_dim = cache.shape().head_dim;
  n.keys = cache.keys(pair), n.capacity = cache.capacity(), n.rows = length;
  n.codes = codes_.get() + pair * cache.capacity() * cache.shape().head_dim / 8;
  n.scales = scales_.get() + pair * cache.capacity();
  build_nibbles(n, stream);
}

}  // namespace doublep::cuda
