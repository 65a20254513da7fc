// Double-P: clusters of mass p2 token by token, those of p1 (or all others) as one term each.
#include "cuda/policies/policies.h"

namespace doublep::cuda {

DevicePolicy double_p_on_device() {
  return {"double_p",
          both(supported_nucleus(), {{"p1"},
                                     {"p2"},
                                     {"outside"},
                                     {"value_side"},
                                     {"guarantee", {"0.0"}},
                                     {"order", {"mass"}},
                                     {"stop", {"mass"}},
                                     {"share"},
                                     {"tokens"},
                                     {"error"},
                                     {"price"},
                                     {"tail"},
                                     {"calibration", {"none"}},
                                     {"calibration_queries"},
                                     {"alpha"},
                                     {"head_kinds", {"one"}},
                                     {"head_error"}}),
          [](const Parameters& p) {
            Plan plan = nucleus_plan(p, p.real("p1"), p.real("p2"));
            plan.step.terms = true, plan.step.outside_terms = p.choice("outside") == "estimate";
            plan.step.value_shift = plan.index.clustering.value_map =
                p.choice("value_side") == "shifted";
            return plan;
          }};
}

}  // namespace doublep::cuda
