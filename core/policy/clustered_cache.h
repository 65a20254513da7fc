// The state that every cluster policy keeps: the tokens that stay exact, and an index over the
// rest.
#pragma once

#include <memory>

#include "core/index/cluster_index.h"
#include "core/index/query_metric.h"
#include "core/policy/exact_zone.h"
#include "core/policy/policy.h"

namespace doublep {

/// `sink`, `window`, `recluster_every` and the clustering parameters.
ParamSpecs clustered_cache_params(std::int64_t tokens_per_cluster = 16, int iterations = 4,
                                  std::int64_t segment = 0, std::int64_t recluster_every = 0);

class ClusteredCache {
 public:
  /// After `recluster_every` tokens the index is built anew, or the new ones are clustered by
  /// themselves and their clusters join those that there are.
  enum class Growth { kRebuild, kAppend };

  ClusteredCache(const Parameters& parameters, KvDtype dtype)
      : ClusteredCache(parameters, dtype, clustering_options(parameters), Growth::kRebuild) {}
  ClusteredCache(const Parameters& parameters, KvDtype dtype, const ClusteringOptions& options,
                 Growth growth);

  void prefill(const KvHead& cache);
  /// New tokens join the exact tail until the index is built anew or grows.
  void append(const KvHead& grown);
  /// What a step asked: the metric of the next build learns from it. Call it in every select.
  void observe(const QueryGroup& queries) { metric_.observe(queries); }

  /// Sinks, then everything from the end of the index on: the window at the last build and all
  /// tokens generated since.
  const ExactZone& exact() const { return exact_; }
  const std::shared_ptr<const ClusterIndex>& index() const { return index_; }
  IndexCost cost() const { return {index_->memory_bytes(dtype_), build_}; }

 private:
  void build(const KvHead& cache);
  void grow(const KvHead& cache);

  std::int64_t sink_, window_, recluster_every_;
  ClusteringOptions options_;
  MetricLearner metric_;
  Growth growth_;
  KvDtype dtype_;
  ExactZone exact_;
  std::shared_ptr<const ClusterIndex> index_;
  std::int64_t built_length_ = 0;
  Work build_;
};

/// The exact zone's tokens and the members of `clusters`, sorted.
std::vector<std::int32_t> exact_tokens(const ClusteredCache& cache,
                                       std::span<const std::int32_t> clusters);

}  // namespace doublep
