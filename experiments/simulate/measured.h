// Measured points from a file, for calibration.
#pragma once

#include <string>
#include <vector>

#include "core/yaml/yaml.h"
#include "sim/calibration/calibrate.h"

namespace doublep::sim {

/// JSON (or YAML) of the form that SIMULATION_FORMAT.md describes, or the output of `doublep
/// bench`. Throws InputError "file:line:column: ...".
std::vector<MeasuredPoint> load_measured(const std::string& path);

/// A point of `doublep bench` or doublep_e2e without the times of its stages: what was timed and
/// what it reads (SIMULATION_FORMAT.md). `shape`: device and heads, as read_bench_shape() finds
/// them at the root.
MeasuredPoint read_bench_work(const Yaml& node, const MeasuredPoint& shape);
MeasuredPoint read_bench_shape(const Yaml& root);

}  // namespace doublep::sim
