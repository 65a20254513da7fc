// The state that every cluster policy keeps: the tokens that stay exact, and an index over the
// rest; and what those have in common that rank its clusters by an estimate of their mass.
#pragma once

#include <memory>

#include "core/index/cluster_index.h"
#include "core/index/mass_estimate.h"
#include "core/index/query_metric.h"
#include "core/policy/exact_zone.h"
#include "core/policy/mass_audit.h"
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

/// A policy over an index that it holds up to date, with an estimator and an audit: what is left to
/// one of them is which clusters it takes.
class ClusterPolicy : public Policy {
 public:
  void prefill(const KvHead& cache) override { clusters_.prefill(cache); }
  void append(const KvHead& grown) override { clusters_.append(grown); }
  IndexCost index_cost() const override { return clusters_.cost(); }

 protected:
  ClusterPolicy(const Parameters& parameters, const PolicyContext& context)
      : ClusterPolicy(parameters, context, clustering_options(parameters),
                      ClusteredCache::Growth::kRebuild) {}
  ClusterPolicy(const Parameters& parameters, const PolicyContext& context,
                const ClusteringOptions& options, ClusteredCache::Growth growth);

  /// log of every cluster's mass, [group size, clusters]. What a select begins with: the metric
  /// learns from the queries, and the estimate is charged.
  MatrixD estimate(const QueryGroup& group, GroupSelection& out);

  ClusteredCache clusters_;
  Estimator estimator_;
  MassAuditor auditor_;
  KvDtype dtype_;
};

}  // namespace doublep
