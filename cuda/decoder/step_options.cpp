#include "cuda/decoder/step_options.h"

#include <algorithm>

#include "core/base/error.h"

namespace doublep::cuda {

DType device_type(KvDtype dtype) {
  DP_ASSERT(dtype != KvDtype::kFp8, "refused before");
  return dtype == KvDtype::kFp32   ? DType::kFp32
         : dtype == KvDtype::kFp16 ? DType::kFp16
                                   : DType::kBf16;
}

namespace {

void plan_pages(const std::string& policy, const Parameters& p, PolicyPlan& plan) {
  plan.step.pages = true, plan.step.rule = SelectRule::kCount;
  plan.step.page_size = p.integer("page_size");
  plan.step.kind = StepKind::kItems;
  if (policy == "quest") {
    plan.page_budget = p.real("budget");
    return;
  }
  plan.step.kind = StepKind::kTwilight;
  plan.page_budget = p.real("base_budget");
  plan.step.twilight_p = plan.target_p = p.real("p");
}

void plan_clusters(const Parameters& p, PolicyPlan& plan) {
  plan.clustered = true;
  plan.recluster_every = p.integer("recluster_every");
  plan.clustering.tokens_per_cluster = p.integer("tokens_per_cluster");
  plan.clustering.clusters = p.integer("clusters");
  plan.clustering.segment = p.integer("segment");
  plan.clustering.iterations = static_cast<int>(p.integer("iterations"));
  plan.step.kind = StepKind::kItems;
  plan.step.second_order = p.choice("estimator") == "second_order";
}

void plan_retroinfer(const Parameters& p, PolicyPlan& plan) {
  // The last of the iterations is the assignment over all segments.
  plan.clustering.iterations = std::max(1, plan.clustering.iterations - 1);
  plan.clustering.spherical = plan.grows = true;
  plan.step.rule = SelectRule::kCount, plan.step.group_mode = GroupMode::kSum;
  plan.step.rank_without_size = plan.step.terms = true;
  plan.exact_share = p.real("retrieval");
  plan.kept_share = plan.exact_share + p.real("estimation");
}

}  // namespace

PolicyPlan plan_for(const std::string& policy, const Parameters& p) {
  PolicyPlan plan;
  if (policy == "dense") return plan;
  plan.sink = p.integer("sink"), plan.window = p.integer("window");
  plan.step.terms = false;
  if (policy == "streaming") {
    plan.step.kind = StepKind::kZone;
    return plan;
  }
  if (policy == "quest" || policy == "twilight") {
    plan_pages(policy, p, plan);
    return plan;
  }
  plan_clusters(p, plan);
  if (policy == "retroinfer") {
    plan_retroinfer(p, plan);
    return plan;
  }
  if (policy == "cluster_top_k") {
    plan.step.rule = SelectRule::kCount;
    plan.top_k = p.real("k");
    return plan;
  }
  const std::string& gqa = p.choice("gqa");
  plan.step.group_mode = gqa == "group_sum"     ? GroupMode::kSum
                         : gqa == "group_union" ? GroupMode::kUnion
                                                : GroupMode::kPerHead;
  plan.mass_with_zone = p.choice("mass_scope") == "all";
  if (policy == "cluster_top_p") {
    plan.step.keep = plan.step.refine = p.real("p");
  } else {
    plan.step.terms = true;
    plan.step.keep = p.real("p1"), plan.step.refine = p.real("p2");
    plan.step.outside_terms = p.choice("outside") == "estimate";
    plan.step.value_shift = plan.clustering.value_map = p.choice("value_side") == "shifted";
  }
  plan.target_p = plan.step.keep;
  return plan;
}

}  // namespace doublep::cuda
