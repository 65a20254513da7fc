// One raw row of a result: everything measured for one (layer, query head, step).
#pragma once

#include <cstdint>

#include "core/cost/cost.h"
#include "core/metrics/step_metrics.h"

namespace doublep {

struct Row {
  std::int32_t layer = 0, head = 0, kv_head = 0, step = 0;
  StepMetrics metrics;
  std::int32_t violation = 0;                                  ///< covered_mass < target_p
  double audited_mass = 0, audited_low = 0, audited_high = 0;  ///< NaN where not audited
  StepCost cost;
};

/// What is known of a layer as a whole.
struct LayerSummary {
  std::int32_t layer = 0;
  IndexCost index;            ///< after the last step
  double seconds_index = 0;   ///< building at prefill
  double seconds_steps = 0;   ///< append and step, without metrics
  double dense_mismatch = 0;  ///< worst |dense - recorded| / |recorded|; NaN without recording
};

}  // namespace doublep
