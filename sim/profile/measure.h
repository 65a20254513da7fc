// Runs a policy over a trace on the CPU reference and notes what it touched.
#pragma once

#include <functional>

#include "core/policy/registry.h"
#include "core/trace/trace.h"
#include "sim/profile/profile.h"

namespace doublep::sim {

struct MeasureOptions {
  std::int64_t every_step = 1;  ///< note rows and quality each so many steps; hits use all
  std::int64_t max_steps = 0;   ///< 0 = all
  std::uint64_t seed = 0;
};

/// `progress` is called after each layer; false throws InputError.
Profile measure_profile(const Trace& trace, const PolicyInfo& policy, const Parameters& parameters,
                        const MeasureOptions& options,
                        const std::function<bool(double done)>& progress = {});

}  // namespace doublep::sim
