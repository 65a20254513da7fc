// Device tables of what is estimated instead of the keys: clusters (centroids, mean values, sizes,
// variances) or pages (extremes), and 4-bit keys for Twilight.
#pragma once

#include <memory>
#include <vector>

#include "cuda/index/cluster_build.h"
#include "cuda/index/pages.h"
#include "cuda/step/cache.h"

namespace doublep::cuda {

class ItemIndex {
 public:
  /// Room for `capacity` items per pair, rounded up to a multiple of 16. `values`: also mean
  /// values; `nibbles`: also 4-bit keys.
  ItemIndex(const Cache& cache, std::int64_t capacity, bool mean_values, bool nibbles = false);

  std::int64_t capacity() const { return capacity_; }
  void* rows(std::int64_t pair = 0) { return rows_.get() + pair * capacity_ * row_bytes_; }
  /// Mean values of clusters, or the lower extremes of pages.
  void* others(std::int64_t pair = 0) { return others_.get() + pair * capacity_ * row_bytes_; }
  ClusterMeta* meta(std::int64_t pair = 0) { return meta_.get() + pair * capacity_; }
  std::int32_t* offsets(std::int64_t pair = 0) { return offsets_.get() + pair * (capacity_ + 1); }
  std::int32_t* num_items() { return num_items_.get(); }
  /// So many pairs would be full with the items that all have, at least 1.
  int full_pairs() const;
  std::int32_t num_items_on_host(int pair) const { return num_items_.download(1, pair)[0]; }
  /// [pairs, head_dim values, head_dim keys] in the cache's type; null where no build asked for it.
  void* value_map(std::int64_t pair = 0) {
    return value_map_.size() > 0 ? value_map_.get() + pair * map_bytes_ : nullptr;
  }
  /// [pairs, head_dim, head_dim] in the cache's type; null where no build asked for it.
  void* key_shape(std::int64_t pair = 0) {
    return key_shape_.size() > 0 ? key_shape_.get() + pair * map_bytes_ : nullptr;
  }
  std::uint32_t* codes() { return codes_.get(); }
  NibbleScale* scales() { return scales_.get(); }

  /// Clusters the tokens between sinks and tail of `sequences` sequences from `sequence` on, all of
  /// these lengths, in one series of launches: sequences one by one do not fill the chip. Source:
  /// [sequences * kv_heads, source_capacity, d] in token order. Fills their part of the cache in
  /// cluster order, zones included. With `labels` ([sequences * kv_heads, points], host) takes that
  /// clustering instead of making one. Without, and where a build of this size was before it,
  /// nothing is allocated or waited for: a stream may capture it.
  struct Clustering {
    std::int64_t tokens_per_cluster = 16, clusters = 0, segment = 0;
    int iterations = 4;
    const std::int32_t* labels = nullptr;
    bool spherical = false;  ///< as LloydOptions says
    /// As LloydOptions has them; empty: evenly spaced, and the keys themselves.
    std::vector<std::int32_t> first = {};
    std::vector<float> warp =
        {};  ///< of a sequence's KV heads, or of all sequences' that are built
    /// Also the map by which a query moves values, and the covariance that clusters share. They are
    /// of one clustering: such clusters cannot be added to. The tables are made by the first build
    /// that asks, which must come before a step.
    bool value_map = false, key_shape = false;
  };
  void build_clusters(Cache& cache, int sequence, const void* keys, const void* values,
                      std::int64_t source_capacity, std::int32_t sink_end, std::int32_t tail_begin,
                      std::int32_t length, const Clustering& options, cudaStream_t stream,
                      int sequences = 1);
  /// Clusters the rows from the cache's tail_begin to `tail_begin`, which are in token order there,
  /// by themselves; the clusters come after those that there are. Makes room where there is none:
  /// steps over this index must be made anew. Synchronous.
  void append_clusters(Cache& cache, int sequence, std::int32_t tail_begin,
                       const Clustering& options, cudaStream_t stream);
  /// Pages on a grid over all rows, the last one as far as it is filled, beside the zones that the
  /// cache has. Rows before `from` were there at an earlier call and are not read again.
  void extend_pages(Cache& cache, int sequence, std::int64_t page_size, std::int32_t from,
                    cudaStream_t stream);
  /// Clusters of a pair that have members. Synchronous.
  std::int32_t occupied(int pair) const;

 private:
  void reserve(const Cache& cache, std::int64_t capacity);
  void make_map(DeviceBuffer<unsigned char>& map, const Cache& cache, cudaStream_t stream);
  void set_items(int sequence, int heads, std::int32_t items);
  void cluster(Cache& cache, std::int64_t pair, int pairs, ClusterBuildParams params,
               const Clustering& options, cudaStream_t stream);

  std::int64_t capacity_, row_bytes_, map_bytes_;
  DeviceBuffer<unsigned char> rows_, others_;          // [pairs, capacity, head_dim]
  DeviceBuffer<ClusterMeta> meta_;                     // [pairs, capacity]
  DeviceBuffer<unsigned char> value_map_, key_shape_;  // [pairs, head_dim, head_dim], or nothing
  DeviceBuffer<std::int32_t> offsets_;                 // [pairs, capacity + 1]
  DeviceBuffer<std::int32_t> num_items_;               // [pairs]
  std::vector<std::int32_t> host_items_;               // [batch], of every pair of a sequence
  DeviceBuffer<std::uint32_t> codes_;                  // [pairs, cache rows, head_dim / 8]
  DeviceBuffer<NibbleScale> scales_;                   // [pairs, cache rows]
  std::unique_ptr<ClusterBuilder> builder_;
  std::int64_t builder_pairs_ = 0, builder_points_ = 0, builder_clusters_ = 0;
};

}  // namespace doublep::cuda
