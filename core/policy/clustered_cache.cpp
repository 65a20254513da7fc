#include "core/policy/clustered_cache.h"

#include <algorithm>

namespace doublep {

ParamSpecs clustered_cache_params(std::int64_t tokens_per_cluster, int iterations,
                                  std::int64_t segment, std::int64_t recluster_every) {
  return join({exact_zone_params(),
               clustering_params(tokens_per_cluster, iterations, segment),
               metric_params(),
               {integer("recluster_every", recluster_every,
                        "build the index anew after so many generated tokens; 0 = never")}});
}

ClusteredCache::ClusteredCache(const Parameters& p, KvDtype dtype, const ClusteringOptions& options,
                               Growth growth)
    : sink_(p.integer("sink")),
      window_(p.integer("window")),
      recluster_every_(p.integer("recluster_every")),
      options_(options),
      metric_(metric_options(p)),
      growth_(growth),
      dtype_(dtype) {}

void ClusteredCache::prefill(const KvHead& cache) {
  metric_.prefill(cache);
  build(cache);
}

void ClusteredCache::build(const KvHead& cache) {
  options_.warp = metric_.warp();
  exact_ = ExactZone::of(sink_, window_, cache.length);
  index_ = std::make_shared<const ClusterIndex>(
      ClusterIndex::build(cache, exact_.sink_end, exact_.tail_begin, options_));
  built_length_ = cache.length;
  build_ += index_->build_work();
}

void ClusteredCache::append(const KvHead& grown) {
  exact_.length = grown.length;
  if (metric_.steps_seen()) return build(grown);
  if (recluster_every_ == 0 || grown.length - built_length_ < recluster_every_) return;
  if (growth_ == Growth::kRebuild || index_->begin() == index_->end())
    build(grown);
  else
    grow(grown);
}

void ClusteredCache::grow(const KvHead& cache) {
  options_.warp = metric_.warp();
  const std::int64_t begin = index_->end(), end = std::max(begin, cache.length - window_);
  ClusteringOptions options = options_;
  // A fixed number of clusters means those of the first build; what joins gets its share.
  if (options.clusters > 0)
    options.clusters = std::max<std::int64_t>(
        1, options.clusters * (end - begin) / (index_->end() - index_->begin()));
  options.moments = {};  // of the whole, below
  const ClusterIndex part = ClusterIndex::build(cache, begin, end, options);
  auto all = ClusterIndex::joined(cache, *index_, part);
  all.add_moments(cache, options_.moments);
  index_ = std::make_shared<const ClusterIndex>(std::move(all));
  exact_.tail_begin = end;
  built_length_ = cache.length;
  build_ += index_->build_work();
}

std::vector<std::int32_t> exact_tokens(const ClusteredCache& cache,
                                       std::span<const std::int32_t> clusters) {
  std::vector<std::int32_t> tokens;
  cache.exact().for_each([&](auto j) { tokens.push_back(j); });
  for (std::int32_t c : clusters) {
    const auto members = cache.index()->members(c);
    tokens.insert(tokens.end(), members.begin(), members.end());
  }
  std::sort(tokens.begin(), tokens.end());
  return tokens;
}

ClusterPolicy::ClusterPolicy(const Parameters& p, const PolicyContext& context,
                             const ClusteringOptions& options, ClusteredCache::Growth growth)
    : clusters_(p, context.kv_dtype, options, growth),
      estimator_(parse_estimator(p)),
      auditor_(p, context),
      dtype_(context.kv_dtype) {}

MatrixD ClusterPolicy::estimate(const QueryGroup& group, GroupSelection& out) {
  clusters_.observe(group);
  charge_estimate(*clusters_.index(), group, estimator_, dtype_, out);
  return estimate_log_masses(*clusters_.index(), group, estimator_);
}

}  // namespace doublep
