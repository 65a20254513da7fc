// A serving run of a plan: requests, a server made of the cost model, one report per arrival rate.
#pragma once

#include "experiments/simulate/simulation.h"

namespace doublep::sim {

std::vector<ServingResult> run_serving(const ServingPlan& plan, const Model& model,
                                       const Machine& machine, const Workload& workload,
                                       const Coverage& coverage);

}  // namespace doublep::sim
