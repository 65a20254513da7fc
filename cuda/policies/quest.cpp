// Quest: the top pages by their bounds, a budget of tokens of them.
#include "cuda/policies/policies.h"

namespace doublep::cuda {

DevicePolicy quest_on_device() {
  return {"quest", both(supported_zone(), {{"budget"}, {"page_size"}}), [](const Parameters& p) {
            Plan plan = page_plan(p, p.budget("budget"));
            plan.step.kind = StepKind::kItems;
            return plan;
          }};
}

}  // namespace doublep::cuda
