// From a policy's name and parameters to what the device is asked to do.
#pragma once

#include <limits>
#include <string>

#include "core/base/parameters.h"
#include "core/cost/cost.h"
#include "cuda/step/decode_step.h"

namespace doublep::cuda {

struct PolicyPlan {
  StepOptions step;
  bool clustered = false;       ///< the index holds clusters, and the cache their order
  bool grows = false;           ///< new tokens are clustered by themselves, not all of them anew
  bool mass_with_zone = false;  ///< p is of the mass with sinks and tail
  std::int64_t sink = 0, window = 0, recluster_every = 0;
  double top_k = 0;        ///< clusters; below 1 a share of them
  double page_budget = 0;  ///< tokens of the top pages; below 1 a share of the visible ones
  double exact_share = 0;  ///< of the clusters that have members: attended exactly
  double kept_share = 0;   ///< of them: attended exactly, or entering as one term
  ItemIndex::Clustering clustering;
  double target_p = std::numeric_limits<double>::quiet_NaN();

  bool twilight() const { return step.kind == StepKind::kTwilight; }
};

/// The policy is one that refusal() lets pass.
PolicyPlan plan_for(const std::string& policy, const Parameters& parameters);
DType device_type(KvDtype dtype);

}  // namespace doublep::cuda
