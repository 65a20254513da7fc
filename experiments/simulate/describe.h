// Hardware and model descriptions from YAML (configs/hardware, configs/models).
#pragma once

#include <string>

#include "core/yaml/yaml.h"
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

/// `value` as a data type of the cache; fails at its place.
KvDtype read_dtype(const Yaml& value);

}  // namespace doublep::sim
