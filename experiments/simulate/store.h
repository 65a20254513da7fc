// A simulation's result file (SIMULATION_FORMAT.md): of the family of doublep-result.
#pragma once

#include <string>

#include "experiments/simulate/simulation.h"

namespace doublep::sim {

/// Replaces `path` atomically. Throws InputError.
void write_simulation(const std::string& path, const SimulationPlan& plan,
                      const SimulationResult& result);

}  // namespace doublep::sim
