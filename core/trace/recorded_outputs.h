// What a recorder stored as a layer's outputs, held against dense attention over the keys, values
// and queries that it stored: a trace of unrotated keys, or of another scale, shows itself here.
#pragma once

#include <string>

#include "core/metrics/step_metrics.h"
#include "core/trace/trace.h"

namespace doublep {

/// Relative difference up to which recorded outputs count as the same. Recorders that compute in
/// float32 from what they store stay below 1e-4; a wrong scale or rotation is off by 0.1 and more.
inline constexpr double kOutputTolerance = 1e-3;

/// |dense - recorded| / |recorded| of one head of the group; `recorded`: float32 [value_dim].
double output_mismatch(const GroundTruth& truth, int head, const float* recorded);

/// The worst of a layer, over all steps and heads; NaN where the trace holds no outputs.
double output_mismatch(const Trace& trace, const TraceLayer& layer);

/// Where `mismatch` (of `layer`) is above the tolerance: throws InputError, or with `allow` says
/// the same as a warning on stderr.
void judge_mismatch(const Trace& trace, int layer, double mismatch, bool allow);

}  // namespace doublep
