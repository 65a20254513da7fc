// Twilight over Quest: the top pages, then top-p over their tokens by 4-bit keys.
#include "cuda/policies/policies.h"

namespace doublep::cuda {

DevicePolicy twilight_on_device() {
  // `channels` is of the base that is not served.
  return {"twilight",
          both(supported_zone(), {{"p"},
                                  {"base", {"quest"}},
                                  {"base_budget"},
                                  {"bits", {to_text(std::int64_t{kQuantisedBits})}},
                                  {"page_size"},
                                  {"channels"}}),
          [](const Parameters& p) {
            Plan plan = page_plan(p, p.budget("base_budget"));
            plan.step.kind = StepKind::kTwilight;
            plan.step.twilight_p = plan.target_p = p.real("p");
            return plan;
          }};
}

}  // namespace doublep::cuda
