// What may stand for a parameter in a sweep: one value, a list, or a range.
#pragma once

#include <vector>

#include "core/yaml/yaml.h"

namespace doublep {

/// 0.9 -> {0.9}; [0.8, 0.9] -> both; {from: 0.1, to: 0.5, step: 0.1} or {from: 16, to: 1024,
/// count: 4, scale: log} -> the range, both ends included. Integers where from, to and step are
/// written as such and all values are whole; else reals.
std::vector<ParamValue> expand_values(const Yaml& node);

}  // namespace doublep
