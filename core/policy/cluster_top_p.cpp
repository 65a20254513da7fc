// One level of top-p over clusters, all of them attended exactly.
#include "core/index/mass_estimate.h"
#include "core/policy/cluster_nucleus.h"
#include "core/policy/clustered_cache.h"
#include "core/policy/mass_audit.h"
#include "core/policy/registry.h"

namespace doublep {
namespace {

class ClusterTopP final : public ClusterPolicy {
 public:
  ClusterTopP(const Parameters& p, const PolicyContext& context)
      : ClusterPolicy(p, context), nucleus_(nucleus_options(p)), p_(p.real("p")) {}

  void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) override {
    const auto& index = *clusters_.index();
    const MatrixD log_masses = estimate(group, out);
    const auto sets = cluster_nuclei(cache, clusters_.exact(), group, log_masses, {&p_, 1},
                                     nucleus_, dtype_, out);
    for (int h = 0; h < group.size; ++h) {
      out.heads[h].tokens = exact_tokens(clusters_, sets[h][0]);
      out.heads[h].target_p = p_;
    }
    auditor_.audit(cache, index, group, out);
  }

 private:
  NucleusOptions nucleus_;
  double p_;
};

}  // namespace

PolicyInfo cluster_top_p_policy() {
  return describe<ClusterTopP>(
      "cluster_top_p", "attends exactly the smallest set of clusters that holds mass p",
      "one level of Double-P, arXiv 2602.05191",
      join({{share("p", 0.95, "estimated mass to hold"), estimator_param(), audit_param()},
            nucleus_params(),
            clustered_cache_params()}),
      {.search = SearchKind::kClusters});
}

}  // namespace doublep
