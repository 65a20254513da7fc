// A fixed number of clusters, those of highest estimated mass, attended token by token.
#include "cuda/policies/policies.h"

namespace doublep::cuda {

DevicePolicy cluster_top_k_on_device() {
  return {"cluster_top_k", both(supported_whole_clusters(), {{"k"}}), [](const Parameters& p) {
            Plan plan = cluster_plan(p);
            plan.stop = {.rule = StopPlan::Rule::kItems, .budget = p.budget("k")};
            return plan;
          }};
}

}  // namespace doublep::cuda
