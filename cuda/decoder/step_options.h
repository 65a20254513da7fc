// From a policy's name and parameters to what the device is asked to do.
#pragma once

#include <limits>
#include <string>

#include "core/cost/cost.h"
#include "core/policy/parameters.h"
#include "cuda/step/decode_step.h"

namespace doublep::cuda {

struct PolicyPlan {
  StepOptions step;
  bool clustered = false, mass_with_zone = false;
  std::int64_t sink = 0, window = 0, recluster_every = 0;
  double top_k = 0;  ///< clusters; below 1 a share of them
  ItemIndex::Clustering clustering;
  double target_p = std::numeric_limits<double>::quiet_NaN();
};

/// The policy is one that refusal() lets pass.
PolicyPlan plan_for(const std::string& policy, const Parameters& parameters);
DType device_type(KvDtype dtype);

}  // namespace doublep::cuda
