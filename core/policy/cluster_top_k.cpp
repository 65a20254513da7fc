// A fixed number of clusters, those of highest estimated mass, attended exactly.
#include <limits>

#include "core/cost/stages.h"
#include "core/index/mass_estimate.h"
#include "core/policy/clustered_cache.h"
#include "core/policy/mass_audit.h"
#include "core/policy/registry.h"
#include "core/selection/top_p.h"

namespace doublep {
namespace {

class ClusterTopK final : public ClusterPolicy {
 public:
  ClusterTopK(const Parameters& p, const PolicyContext& context)
      : ClusterPolicy(p, context), k_(p.budget("k")) {}

  void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) override {
    const auto& index = *clusters_.index();
    const MatrixD log_masses = estimate(group, out);
    const std::int64_t n = index.num_clusters(), k = k_.of(n);
    out.charge_heads(Stage::kSelect, cost::pick(static_cast<double>(n)));
    for (int h = 0; h < group.size; ++h) {
      const auto chosen = top_k({log_masses.row(h).data(), static_cast<std::size_t>(n)}, k);
      out.heads[h].tokens = exact_tokens(clusters_, chosen);
      out.heads[h].target_p = std::numeric_limits<double>::quiet_NaN();
    }
    auditor_.audit(cache, index, group, out);
  }

 private:
  Budget k_;
};

}  // namespace

PolicyInfo cluster_top_k_policy() {
  return describe<ClusterTopK>(
      "cluster_top_k", "attends exactly the k clusters of highest estimated mass", "ablation",
      join({{budget("k", Budget::count(64), "clusters"), estimator_param(), audit_param()},
            clustered_cache_params()}),
      {.search = SearchKind::kClusters});
}

}  // namespace doublep
