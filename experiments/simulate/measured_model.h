// Whole decode steps as `doublep_e2e` measured them.
#pragma once

#include <string>

#include "sim/calibration/end_to_end.h"

namespace doublep::sim {

/// JSON of the format doublep-e2e, version 3 (SIMULATION_FORMAT.md). Throws InputError
/// "file:line:column: ...".
MeasuredModel load_measured_model(const std::string& path);

/// The model of the plan that was measured must have the measured shape, but for its layers.
void check_shape(const std::string& path, const Model& model);

}  // namespace doublep::sim
