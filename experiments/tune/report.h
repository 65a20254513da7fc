#pragma once

#include <ostream>
#include <string>

#include "experiments/tune/tuning.h"

namespace doublep {

/// The chosen points with their margins, and the Pareto fronts, for people.
void print_tuning(const std::vector<PolicyTuning>& all, const ResultFile& result,
                  const Tuning& tuning, std::ostream& out);

/// How many entries of `all` have a choice that meets the target.
std::size_t num_chosen(const std::vector<PolicyTuning>& all);

/// The chosen parameters as YAML, an entry per trace and policy that has a choice. A trace is told
/// by its hash and its path; `layers` holds the full parameters of every layer:
///   tuned: [{trace, trace_hash, trace_path, policy, backend,
///            heldout: {value, bytes_per_layer_and_step, met}, layers: {0: {...}, ...}}, ...]
std::string tuning_yaml(const std::vector<PolicyTuning>& all, const ResultFile& result,
                        const Tuning& tuning);

}  // namespace doublep
