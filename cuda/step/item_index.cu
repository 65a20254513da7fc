#include <algorithm>
#include <limits>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

#include "cuda/common/launch.h"
#include "cuda/step/item_index.h"

namespace doublep::cuda {

ItemIndex::ItemIndex(const Cache& cache, std::int64_t capacity, bool mean_values, bool nibbles)
    : capacity_((std::max<std::int64_t>(capacity, 1) + 15) / 16 * 16),
      row_bytes_(cache.row_bytes()),
      map_bytes_(row_bytes_ * cache.shape().head_dim),
      rows_(cache.shape().pairs * capacity_ * row_bytes_),
      meta_(cache.shape().pairs * capacity_),
      offsets_(cache.shape().pairs * (capacity_ + 1)),
      num_items_(cache.shape().pairs),
      host_items_(cache.batch(), 0) {
  if (mean_values) others_.resize(rows_.size());
  // Kernels may ask for items that there are not, and drop what comes of it.
  num_items_.zero(), meta_.zero(), offsets_.zero(), rows_.zero(), others_.zero();
  if (nibbles) {
    const std::int64_t rows = cache.shape().pairs * cache.capacity();
    codes_.resize(rows * cache.shape().head_dim / 8), scales_.resize(rows);
  }
}

namespace {

/// Rows [first, first + rows) of so many pairs, unchanged in place and order.
void copy_rows(Cache& cache, std::int64_t pair, int pairs, const void* keys, const void* values,
               std::int64_t source_capacity, std::int64_t first, std::int64_t rows,
               cudaStream_t stream) {
  if (rows <= 0) return;
  const std::int64_t bytes = cache.row_bytes(), at = first * bytes;
  const auto copy = [&](void* to, const void* from) {
    DP_CUDA(cudaMemcpy2DAsync(static_cast<char*>(to) + at, cache.capacity() * bytes,
                              static_cast<const char*>(from) + at, source_capacity * bytes,
                              rows * bytes, pairs, cudaMemcpyDefault, stream));
  };
  copy(cache.keys(pair), keys);
  copy(cache.values(pair), values);
}

__global__ void set_counts(std::int32_t* counts, int pairs, std::int32_t items) {
  for (int i = threadIdx.x; i < pairs; i += blockDim.x) counts[i] = items;
}

std::vector<Segment> segments_of(std::int32_t points, const ItemIndex::Clustering& options) {
  if (options.labels) return {{0, points, 0, static_cast<int>(options.clusters)}};
  return make_segments(points, options.tokens_per_cluster, options.clusters, options.segment);
}

}  // namespace

void ItemIndex::build_clusters(Cache& cache, int sequence, const void* keys, const void* values,
                               std::int64_t source_capacity, std::int32_t sink_end,
                               std::int32_t tail_begin, std::int32_t length,
                               const Clustering& options, cudaStream_t stream, int sequences) {
  const int heads = cache.shape().kv_heads, pairs = sequences * heads;
  const std::int64_t pair = static_cast<std::int64_t>(sequence) * heads;
  const std::int32_t points = tail_begin - sink_end;
  const int clusters = points > 0 ? total_clusters(segments_of(points, options)) : 0;
  if (clusters > capacity_) throw CudaError("the index has no room for so many clusters");

  if (static_cast<std::int64_t>(pairs) * points > std::numeric_limits<std::int32_t>::max())
    throw CudaError("too many tokens to be clustered at once; build fewer sequences");
  copy_rows(cache, pair, pairs, keys, values, source_capacity, 0, sink_end, stream);
  copy_rows(cache, pair, pairs, keys, values, source_capacity, tail_begin, length - tail_begin,
            stream);
  cache.begin(sequence, sequences, sink_end, tail_begin, length, stream);
  launch({dim3(1), dim3(256), 0, stream}, set_counts, num_items_.get() + pair, pairs, clusters);
  std::fill_n(host_items_.begin() + sequence, sequences, clusters);
  ClusterBuildParams p;
  p.keys = keys, p.values = values, p.source_capacity = source_capacity;
  p.begin = p.source_begin = sink_end, p.points = points;
  p.centroids = rows(pair), p.mean_values = others(pair), p.meta = meta(pair);
  p.offsets = offsets(pair), p.cluster_room = capacity_;
  const auto pool = [&](DeviceBuffer<unsigned char>& map, void*& where) {
    make_map(map, cache, stream);
    where = map.get() + pair * map_bytes_;
    if (clusters == 0)  // an earlier build may have left one
      DP_CUDA(cudaMemsetAsync(where, 0, pairs * map_bytes_, stream));
  };
  if (options.value_map) pool(value_map_, p.value_map);
  if (options.key_shape) pool(key_shape_, p.key_shape);
  if (clusters > 0) cluster(cache, pair, pairs, p, options, stream);
}

void ItemIndex::make_map(DeviceBuffer<unsigned char>& map, const Cache& cache,
                         cudaStream_t stream) {
  if (map.size() > 0) return;
  map.resize(cache.shape().pairs * map_bytes_);
  map.zero(stream);
  DP_CUDA(cudaStreamSynchronize(stream));  // another sequence may be built on another stream
}

void ItemIndex::set_items(int sequence, int heads, std::int32_t items) {
  const std::vector<std::int32_t> counts(heads, items);
  num_items_.upload(counts.data(), heads, static_cast<std::size_t>(sequence) * heads);
  host_items_[sequence] = items;
}

/// What the caller leaves open: the pairs' cache, and the segments.
void ItemIndex::cluster(Cache& cache, std::int64_t pair, int pairs, ClusterBuildParams p,
                        const Clustering& options, cudaStream_t stream) {
  const auto segments = segments_of(p.points, options);
  const int clusters = total_clusters(segments);
  p.dtype = cache.dtype(), p.pairs = pairs, p.head_dim = cache.shape().head_dim;
  p.out_keys = cache.keys(pair), p.out_values = cache.values(pair);
  p.out_capacity = cache.capacity(), p.order = cache.order(pair), p.cluster_capacity = capacity_;
  if (!builder_ || pairs > builder_pairs_ || p.points > builder_points_ ||
      clusters > builder_clusters_) {
    builder_.reset();  // its workspace goes before another comes
    builder_pairs_ = pairs, builder_points_ = p.points, builder_clusters_ = clusters;
    builder_ = std::make_unique<ClusterBuilder>(p.dtype, pairs, p.head_dim, p.points, clusters);
  }
  if (options.labels)
    builder_->assign(p, options.labels, clusters, stream);
  else
    builder_->cluster(p, segments,
                      {options.iterations, options.spherical,
                       options.first.empty() ? nullptr : options.first.data(),
                       options.warp.empty() ? nullptr : options.warp.data(),
                       static_cast<int>(options.warp.size() / (p.head_dim * p.head_dim))},
                      stream);
  if (cache.packed())
    cache.pack_clusters(static_cast<int>(pair / cache.shape().kv_heads),
                        pairs / cache.shape().kv_heads, p.offsets, capacity_ + 1, clusters,
                        p.begin + p.points, stream);
}

void ItemIndex::append_clusters(Cache& cache, int sequence, std::int32_t tail_begin,
                                const Clustering& options, cudaStream_t stream) {
  if (options.value_map || options.key_shape)
    throw CudaError("pooled moments are not added to; build the clusters anew");
  const int heads = cache.shape().kv_heads;
  const std::int64_t pair = static_cast<std::int64_t>(sequence) * heads, bytes = cache.row_bytes();
  const Cache::Zones before = cache.zones(sequence);
  if (tail_begin < before.tail_begin || tail_begin > before.length)
    throw CudaError("clusters can join from the tail only, as far as there are tokens");
  const std::int32_t points = tail_begin - before.tail_begin, first = host_items_[sequence];
  if (points > 0) {
    const int clusters = total_clusters(segments_of(points, options));
    reserve(cache, first + clusters);
    // In cluster order they go to where they stand now.
    DeviceBuffer<unsigned char> keys(heads * points * bytes), values(heads * points * bytes);
    const auto copy = [&](void* to, const void* from) {
      DP_CUDA(cudaMemcpy2DAsync(
          to, points * bytes, static_cast<const char*>(from) + before.tail_begin * bytes,
          cache.capacity() * bytes, points * bytes, heads, cudaMemcpyDeviceToDevice, stream));
    };
    copy(keys.get(), cache.keys(pair));
    copy(values.get(), cache.values(pair));
    ClusterBuildParams p;
    p.keys = keys.get(), p.values = values.get(), p.source_capacity = points;
    p.begin = before.tail_begin, p.points = points;
    p.centroids = static_cast<char*>(rows(pair)) + first * row_bytes_;
    p.mean_values = static_cast<char*>(others(pair)) + first * row_bytes_;
    p.meta = meta(pair) + first, p.offsets = offsets(pair) + first;
    p.cluster_room = capacity_ - first;
    cluster(cache, pair, heads, p, options, stream);
    set_items(sequence, heads, first + clusters);
    DP_CUDA(cudaStreamSynchronize(stream));  // the copies go
  }
  cache.set_zones(sequence, before.sink_end, tail_begin, before.length);
}

void ItemIndex::reserve(const Cache& cache, std::int64_t capacity) {
  const std::int64_t before = capacity_, pairs = cache.shape().pairs;
  if (capacity <= before) return;
  DP_CUDA(cudaDeviceSynchronize());
  capacity_ = (capacity + 15) / 16 * 16;
  const auto widen = [&](auto& buffer, std::int64_t width, std::int64_t from) {
    std::remove_reference_t<decltype(buffer)> wider(pairs * width);
    wider.zero();
    const std::size_t element = sizeof(*buffer.get());
    DP_CUDA(cudaMemcpy2D(wider.get(), width * element, buffer.get(), from * element, from * element,
                         pairs, cudaMemcpyDeviceToDevice));
    buffer = std::move(wider);
  };
  widen(rows_, capacity_ * row_bytes_, before * row_bytes_);
  if (others_.size() > 0) widen(others_, capacity_ * row_bytes_, before * row_bytes_);
  widen(meta_, capacity_, before);
  widen(offsets_, capacity_ + 1, before + 1);
  // Clusters that there are not have no rows, in every sequence.
  for (std::int64_t pair = 0; pair < pairs; ++pair) {
    const std::size_t at = pair * (capacity_ + 1) + before;
    const std::vector<std::int32_t> end(capacity_ - before, offsets_.download(1, at)[0]);
    offsets_.upload(end.data(), end.size(), at + 1);
  }
}

int ItemIndex::full_pairs() const {
  const auto items = std::accumulate(host_items_.begin(), host_items_.end(), std::int64_t{0});
  const auto heads = num_items_.size() / host_items_.size();
  return static_cast<int>(1 + items * static_cast<std::int64_t>(heads) / capacity_);
}

std::int32_t ItemIndex::occupied(int pair) const {
  const std::int32_t items = num_items_on_host(pair);
  const auto starts = offsets_.download(items + 1, pair * (capacity_ + 1));
  std::int32_t count = 0;
  for (std::int32_t i = 0; i < items; ++i) count += starts[i + 1] > starts[i];
  return count;
}

void ItemIndex::extend_pages(Cache& cache, int sequence, std::int64_t page_size, std::int32_t from,
                             cudaStream_t stream) {
  const Cache::Zones zones = cache.zones(sequence);
  PageParams p;
  p.rows = zones.length, p.sink_end = zones.sink_end, p.tail_begin = zones.tail_begin;
  p.page_size = static_cast<std::int32_t>(std::min(page_size, cache.capacity()));
  p.num_pages = (p.rows + p.page_size - 1) / p.page_size;
  p.first_page = from / p.page_size;  // the one that was not full yet, too
  const int heads = cache.shape().kv_heads;
  const std::int64_t pair = static_cast<std::int64_t>(sequence) * heads;
  if (p.num_pages > capacity_) throw CudaError("the index has no room for so many pages");
  p.dtype = cache.dtype(), p.pairs = heads, p.head_dim = cache.shape().head_dim;
  p.keys = cache.keys(pair), p.capacity = cache.capacity();
  p.highs = rows(pair), p.lows = others(pair), p.offsets = offsets(pair);
  p.page_capacity = capacity_;
  build_pages(p, stream);
  set_items(sequence, heads, p.num_pages);
  if (codes_.size() == 0) return;
  NibbleParams n;
  n.dtype = cache.dtype(), n.pairs = heads, n.head_dim = cache.shape().head_dim;
  n.keys = cache.keys(pair), n.capacity = cache.capacity(), n.first_row = from, n.rows = p.rows;
  n.codes = codes_.get() + pair * cache.capacity() * cache.shape().head_dim / 8;
  n.scales = scales_.get() + pair * cache.capacity();
  build_nibbles(n, stream);
}

}  // namespace doublep::cuda
