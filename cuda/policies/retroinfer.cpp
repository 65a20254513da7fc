// RetroInfer: one ranking a group, shares of the clusters exact and as terms. Its clusters grow by
// parts, and a map that moves values is of one clustering: value_side stays mean.
#include <algorithm>

#include "cuda/policies/policies.h"

namespace doublep::cuda {

DevicePolicy retroinfer_on_device() {
  return {"retroinfer",
          both(supported_growing_clusters(),
               {{"retrieval"}, {"estimation"}, {"outside"}, {"value_side", {"mean"}}}),
          [](const Parameters& p) {
            Plan plan = cluster_plan(p);
            // The last of the iterations is the assignment over all segments.
            auto& clustering = plan.index.clustering;
            clustering.iterations = std::max(1, clustering.iterations - 1);
            clustering.spherical = true;
            plan.step.group_mode = GroupMode::kSum, plan.step.rank_without_size = true;
            plan.step.terms = true, plan.step.outside_terms = p.choice("outside") == "estimate";
            plan.stop = {StopPlan::Rule::kOccupied, p.real("retrieval") + p.real("estimation"),
                         p.real("retrieval")};
            return plan;
          }};
}

}  // namespace doublep::cuda
