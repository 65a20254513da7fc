// A fixed number of clusters, those of highest estimated mass, attended exactly.
#include <limits>

#include "core/cost/stages.h"
#include "core/index/mass_estimate.h"
#include "core/policy/clustered_cache.h"
#include "core/policy/mass_audit.h"
#include "core/policy/registry.h"
#include "core/selection/top_k.h"

namespace doublep {
namespace {

class ClusterTopK final : public Policy {
 public:
  ClusterTopK(const Parameters& p, const PolicyContext& context)
      : clusters_(p, context.kv_dtype),
        estimator_(parse_estimator(p)),
        k_(p.budget("k")),
        dtype_(context.kv_dtype),
        auditor_(p, context) {}

  void prefill(const KvHead& cache) override { clusters_.prefill(cache); }
  void append(const KvHead& grown) override { clusters_.append(grown); }
  IndexCost index_cost() const override { return clusters_.cost(); }

  void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) override {
    clusters_.observe(group);
    const auto& index = *clusters_.index();
    const MatrixD log_masses = estimate_log_masses(index, group, estimator_);
    charge_estimate(index, group, estimator_, dtype_, out);
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
  ClusteredCache clusters_;
  Estimator estimator_;
  Budget k_;
  KvDtype dtype_;
  MassAuditor auditor_;
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
