// Every visible token: attend alone, over all rows.
#include "cuda/policies/policies.h"

namespace doublep::cuda {

DevicePolicy dense_on_device() {
  const auto all = [](const Parameters&) {
    Plan plan;
    plan.step.kind = StepKind::kDense, plan.target_p = 1;
    return plan;
  };
  return {.name = "dense", .parameters = {}, .plan = all, .fp8 = true};
}

}  // namespace doublep::cuda
