// What several policies list and plan.
#include "core/index/cluster_index.h"
#include "cuda/policies/policies.h"

namespace doublep::cuda {

std::vector<Supported> both(std::vector<Supported> one, const std::vector<Supported>& other) {
  one.insert(one.end(), other.begin(), other.end());
  return one;
}
std::vector<Supported> supported_zone() { return {{"sink"}, {"window"}}; }
std::vector<Supported> supported_clusters() {
  return both(supported_zone(), {{"tokens_per_cluster"},
                                 {"clusters"},
                                 {"segment"},
                                 {"iterations"},
                                 {"recluster_every"},
                                 {"rho"},
                                 {"metric_queries"},
                                 {"metric_source"},
                                 {"audit", {"0"}}});
}
std::vector<Supported> supported_growing_clusters() {
  return both(supported_clusters(), {{"kmeans_init", {"evenly_spaced"}},
                                     {"kmeans_seed", {"0"}},
                                     {"metric", {"euclidean"}},
                                     {"estimator", {"jensen", "second_order"}}});
}
std::vector<Supported> supported_whole_clusters() {
  return both(supported_clusters(), {{"kmeans_init"},
                                     {"kmeans_seed"},
                                     {"metric"},
                                     {"estimator", {"jensen", "second_order", "pooled"}}});
}
std::vector<Supported> supported_nucleus() {
  return both(supported_whole_clusters(), {{"gqa"}, {"mass_scope"}});
}

Plan zone_plan(const Parameters& p) {
  Plan plan;
  plan.sink = p.integer("sink"), plan.window = p.integer("window");
  plan.step.kind = StepKind::kZone, plan.step.terms = false;
  return plan;
}

Plan page_plan(const Parameters& p, const Budget& budget) {
  Plan plan = zone_plan(p);
  plan.index.items = IndexPlan::Items::kPages;
  plan.step.page_size = p.integer("page_size");
  plan.stop = {.rule = StopPlan::Rule::kTokens, .budget = budget};
  return plan;
}

Plan cluster_plan(const Parameters& p) {
  Plan plan = zone_plan(p);
  plan.index.items = IndexPlan::Items::kClusters;
  plan.index.recluster_every = p.integer("recluster_every");
  auto& clustering = plan.index.clustering;
  clustering.tokens_per_cluster = p.integer("tokens_per_cluster");
  clustering.clusters = p.integer("clusters");
  clustering.segment = p.integer("segment");
  clustering.iterations = static_cast<int>(p.integer("iterations"));
  plan.index.first = clustering_options(p).kmeans;
  plan.index.metric = metric_options(p);
  plan.step.kind = StepKind::kItems;
  const std::string& estimator = p.choice("estimator");
  plan.step.estimator = estimator == "pooled"         ? MassEstimate::kPooled
                        : estimator == "second_order" ? MassEstimate::kSecondOrder
                                                      : MassEstimate::kJensen;
  clustering.key_shape = estimator == "pooled";
  return plan;
}

Plan nucleus_plan(const Parameters& p, double kept, double refined) {
  Plan plan = cluster_plan(p);
  const std::string& gqa = p.choice("gqa");
  plan.step.group_mode = gqa == "group_sum"     ? GroupMode::kSum
                         : gqa == "group_union" ? GroupMode::kUnion
                                                : GroupMode::kPerHead;
  plan.mass_with_zone = p.choice("mass_scope") == "all";
  plan.stop = {StopPlan::Rule::kMass, kept, refined}, plan.target_p = kept;
  return plan;
}

}  // namespace doublep::cuda
