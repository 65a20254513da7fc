// ClusterKV: clusters by cosine, ranked by q.C, fill a budget of tokens (arXiv 2412.03213). The
// last cluster is cut to what is left of the budget, its first tokens stay. Sinks and the tokens
// that are not clustered yet count towards the budget; those generated are clustered 320 at a time.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/cache/logits.h"
#include "core/cost/stages.h"
#include "core/policy/clustered_cache.h"
#include "core/policy/registry.h"
#include "core/selection/top_k.h"

namespace doublep {
namespace {

ClusteringOptions by_cosine(const Parameters& p) {
  ClusteringOptions options = clustering_options(p);
  options.kmeans.normalise = true;
  return options;
}

class ClusterKv final : public Policy {
 public:
  ClusterKv(const Parameters& p, const PolicyContext& context)
      : clusters_(p, context.kv_dtype, by_cosine(p), ClusteredCache::Growth::kAppend),
        budget_(p.real("budget")),
        dtype_(context.kv_dtype) {}

  void prefill(const KvHead& cache) override { clusters_.prefill(cache); }
  void append(const KvHead& grown) override { clusters_.append(grown); }
  IndexCost index_cost() const override { return clusters_.cost(); }

  void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) override {
    const ClusterIndex& index = *clusters_.index();
    const MatrixD scores = exact_logits(group, index.centroids().data(), index.num_clusters());
    const double k = static_cast<double>(index.num_clusters()), d = group.head_dim;
    out.charge(Stage::kEstimate, k * (d * bytes_of(dtype_) + 4), 2 * k * d);  // centroid and size
    out.charge_heads(Stage::kSelect, cost::order(k));
    const std::int64_t budget = budget_tokens(budget_, cache.length);
    const ExactZone& zone = clusters_.exact();
    const ExactZone kept =
        ExactZone::of(zone.sink_end, zone.length - zone.tail_begin, zone.length, budget);
    for (int h = 0; h < group.size; ++h) {
      auto& tokens = out.heads[h].tokens;
      kept.for_each([&](auto j) { tokens.push_back(j); });
      const auto order = descending_order({scores.row(h).data(), static_cast<std::size_t>(k)});
      for (std::size_t i = 0; i < order.size(); ++i) {
        const auto members = index.members(order[i]);
        const auto left = static_cast<std::size_t>(budget) - tokens.size();
        tokens.insert(tokens.end(), members.begin(),
                      members.begin() + std::min(left, members.size()));
      }
      std::sort(tokens.begin(), tokens.end());
      out.heads[h].target_p = std::numeric_limits<double>::quiet_NaN();
    }
  }

 private:
  ClusteredCache clusters_;
  double budget_;
  KvDtype dtype_;
};

}  // namespace

PolicyInfo cluster_kv_policy() {
  return describe<ClusterKv>(
      "cluster_kv", "attends the clusters of highest q.C until a budget of tokens is full",
      "ClusterKV, arXiv 2412.03213",
      join({{budget("budget", 1024, "tokens in all; below 1 a share of the visible ones"),
             integer("recluster_every", 320, "cluster new tokens after so many; 0 = never")},
            exact_zone_params(16, 0),
            clustering_params(80, 10)}),
      {.search = SearchKind::kClusters, .grows = true});
}

}  // namespace doublep
