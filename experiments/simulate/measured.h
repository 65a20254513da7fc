// Measured points from a file, for calibration.
#pragma once

#include <string>
#include <vector>

#include "sim/calibration/calibrate.h"

namespace doublep::sim {

/// JSON (or YAML) of the form that MEASURED_FORMAT.md describes, or the output of `doublep bench`.
/// Throws InputError "file:line:column: ...".
std::vector<MeasuredPoint> load_measured(const std::string& path);

}  // namespace doublep::sim
