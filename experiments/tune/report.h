#pragma once

#include <ostream>
#include <string>

#include "experiments/tune/tuning.h"

namespace doublep {

/// The chosen points with their margins, and the Pareto fronts, for people.
void print_tuning(const std::vector<PolicyTuning>& all, const ResultFile& result,
                  const Tuning& tuning, std::ostream& out);

/// The chosen parameters as YAML: per policy and trace, and per layer where that pays.
std::string tuning_yaml(const std::vector<PolicyTuning>& all, const ResultFile& result,
                        const Tuning& tuning);

}  // namespace doublep
