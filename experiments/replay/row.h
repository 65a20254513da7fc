// One raw row of a result: everything measured for one (layer, query head, step).
#pragma once

#include <cstdint>

#include "core/cost/stages.h"
#include "core/metrics/step_metrics.h"

namespace doublep {

/// As row_fields.def lists it, which says what each member means.
struct Row {
#define DOUBLEP_FIELD(type, name, unit, gate, meaning) type name = {};
#define DOUBLEP_METRIC(type, name, unit, gate, meaning) type name = {};
#define DOUBLEP_STAGES(name, unit, gate, meaning) double name[kNumStages] = {};
#include "experiments/replay/row_fields.def"
};

/// What is known of a layer as a whole.
struct LayerSummary {
  std::int32_t layer = 0;
  double index_memory_bytes = 0, index_build_bytes = 0,
         index_build_flops = 0;  ///< after the last step
  double seconds_index = 0;      ///< building at prefill
  double seconds_steps = 0;      ///< append and step, without metrics
  double dense_mismatch = 0;     ///< worst |dense - recorded| / |recorded|; NaN without recording
};

}  // namespace doublep
