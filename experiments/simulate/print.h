// A simulation in a terminal.
#pragma once

#include <iosfwd>

#include "experiments/simulate/simulation.h"

namespace doublep::sim {

/// Calibration and its error, then one line per point: time, attention, bound, against dense.
void print_simulation(const SimulationResult& result, std::ostream& out);

}  // namespace doublep::sim
