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
#include "core/policy/token_top_k.h"
#include "core/selection/top_p.h"

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
        budget_(p.budget("budget")),
        by_group_(p.choice("gqa") == "group_query"),
        dtype_(context.kv_dtype) {}

  void prefill(const KvHead& cache) override { clusters_.prefill(cache); }
  void append(const KvHead& grown) override { clusters_.append(grown); }
  IndexCost index_cost() const override { return clusters_.cost(); }

  void select(const KvHead&, const QueryGroup& group, GroupSelection& out) override {
    clusters_.observe(group);
    const ClusterIndex& index = *clusters_.index();
    const Eigen::RowVectorXf mean = ConstMapF(group.queries, group.size, group.head_dim)
                                        .cast<double>()
                                        .colwise()
                                        .mean()
                                        .cast<float>();
    QueryGroup ranked = group;
    if (by_group_) ranked.queries = mean.data(), ranked.size = 1;
    const MatrixD scores = exact_logits(ranked, index.centroids().data(), index.num_clusters());
    const double k = static_cast<double>(index.num_clusters()), d = group.head_dim;
    const double rankings = ranked.size, each = rankings / group.size;
    out.charge(Stage::kEstimate, k * (d * bytes_of(dtype_) + 4),  // centroid and size
               2 * k * d * each);
    const Work ranking = cost::order(k);
    out.charge(Stage::kSelect, ranking.bytes * rankings, ranking.flops * each);
    const ExactZone& zone = clusters_.exact();
    const std::int64_t budget = tokens_in_all(budget_, zone);
    for (int h = 0; h < group.size; ++h) {
      auto& tokens = out.heads[h].tokens;
      out.heads[h].target_p = std::numeric_limits<double>::quiet_NaN();
      if (h > 0 && by_group_) {
        tokens = out.heads[0].tokens;
        continue;
      }
      zone.for_each([&](auto j) { tokens.push_back(j); });
      const auto order = descending_order({scores.row(h).data(), static_cast<std::size_t>(k)});
      for (std::size_t i = 0; i < order.size(); ++i) {
        const auto members = index.members(order[i]);
        const auto left = static_cast<std::size_t>(budget) - tokens.size();
        tokens.insert(tokens.end(), members.begin(),
                      members.begin() + std::min(left, members.size()));
      }
      std::sort(tokens.begin(), tokens.end());
    }
  }

 private:
  ClusteredCache clusters_;
  Budget budget_;
  bool by_group_;
  KvDtype dtype_;
};

}  // namespace

PolicyInfo cluster_kv_policy() {
  return describe<ClusterKv>(
      "cluster_kv", "attends the clusters of highest q.C until a budget of tokens is full",
      "ClusterKV, arXiv 2412.03213",
      join({{token_budget(Budget::count(1024)),
             choice("gqa", "per_head", {"per_head", "group_query"},
                    "a selection per query head, or one by the mean of the group's queries"),
             integer("recluster_every", 320, "cluster new tokens after so many; 0 = never")},
            exact_zone_params(16, 0),
            clustering_params(80, 10),
            metric_params()}),
      {.search = SearchKind::kClusters, .grows = true});
}

}  // namespace doublep
