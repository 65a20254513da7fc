#include "core/policy/ranked_clusters.h"

#include "core/index/value_shift.h"

namespace doublep {

RankingRule::RankingRule(const Parameters& p, KvDtype type)
    : estimator(parse_estimator(p)),
      refinement(refinement_options(p)),
      gqa(nucleus_options(p).gqa),
      shifted(parse_value_shift(p)),
      dtype(type) {}

RankedClusters rank_clusters(const RankingRule& rule, const KvHead& cache, const ExactZone& zone,
                             const ClusterIndex& index, const QueryGroup& group) {
  RankedClusters ranked;
  ranked.log_masses = estimate_log_masses(index, group, rule.estimator);
  ranked.errors = term_errors(cache, zone, group, index, ranked.log_masses,
                              logit_variances(index, group), rule.refinement.needs_values());
  ranked.orders = refinement_orders(rule.refinement, rule.gqa, index, group,
                                    refinement_scores(rule.refinement, index, group, ranked.errors),
                                    ranked.errors);
  return ranked;
}

}  // namespace doublep
