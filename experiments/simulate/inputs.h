// The files that a plan names: hardware and model descriptions (configs/hardware, configs/models),
// and what was measured, for calibration: points of one layer, and whole decode steps.
#pragma once

#include <string>
#include <vector>

#include "core/yaml/yaml.h"
#include "sim/calibration/calibrate.h"
#include "sim/calibration/end_to_end.h"
#include "sim/hardware/hardware.h"
#include "sim/model/model.h"

namespace doublep::sim {

/// Both throw InputError "file:line:column: ...": unknown, missing or duplicate keys, numbers out
/// of range, a figure without a source or with one that `sources` does not name.
Hardware load_hardware(const std::string& path);
Model load_model(const std::string& path);

/// What-if factors: name, and any of memory_bandwidth, compute, host_link, interconnect,
/// memory_capacity, launch_overhead.
Scale read_scale(const Yaml& node);

/// `value` as a format of numbers; fails at its place.
Format read_format(const Yaml& value);

/// JSON (or YAML) of the form that SIMULATION_FORMAT.md describes, or the output of `doublep
/// bench`. Throws InputError "file:line:column: ...".
std::vector<MeasuredPoint> load_measured(const std::string& path);

/// A point of `doublep bench` or doublep_e2e without the times of its stages: what was timed and
/// what it reads (SIMULATION_FORMAT.md). `shape`: device and heads, as read_bench_shape() finds
/// them at the root.
bool is_packed(const Yaml& point);  ///< read from fp8: by another kernel, which nobody fits
MeasuredPoint read_bench_work(const Yaml& node, const MeasuredPoint& shape);
MeasuredPoint read_bench_shape(const Yaml& root);

/// JSON of the format doublep-e2e, version 3 (SIMULATION_FORMAT.md). Throws InputError
/// "file:line:column: ...".
MeasuredModel load_measured_model(const std::string& path);

/// The model of the plan that was measured must have the measured shape, but for its layers.
void check_shape(const std::string& path, const Model& model);

}  // namespace doublep::sim
