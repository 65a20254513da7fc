// Every visible token: attend alone, over all rows.
#include "cuda/policies/policies.h"

namespace doublep::cuda {

DevicePolicy dense_on_device() {
  return {"dense", {}, [](const Parameters&) {
            Plan plan;
            plan.step.kind = StepKind::kDense, plan.target_p = 1;
            return plan;
          }};
}

}  // namespace doublep::cuda
