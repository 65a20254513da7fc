// Replays a trace as decoding happened: prefill on the keys 0 .. positions[0], then append and
// step.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "core/base/stop_signal.h"
#include "core/decoder/decoder.h"
#include "core/trace/trace.h"
#include "experiments/replay/row.h"
#include "experiments/replay/truth_cache.h"

namespace doublep {

struct ReplayOptions {
  std::vector<int> layers;      ///< empty: all of the trace
  std::int64_t every_step = 1;  ///< measure each so many steps; the others only append
  std::int64_t max_steps = 0;   ///< stop after so many steps of the trace; 0 = all
  double target_mass = 0.95;    ///< promise that policies without one are held to
};

struct ReplayResult {
  std::vector<Row> rows;  ///< by layer, step, head
  std::vector<LayerSummary> layers;
  std::vector<std::int64_t> steps;  ///< of the trace, that were measured
  double target_p = 0;
  double target_error = std::numeric_limits<double>::quiet_NaN();  ///< where one is promised
};

/// Makes a decoder for a layer.
using DecoderFactory = std::function<std::unique_ptr<Decoder>(int layer)>;
/// Called after each measured step with the share of the replay that is done; returns false to
/// stop.
using ReplayProgress = std::function<bool(double done)>;

/// Throws Interrupted where ReplayProgress said stop. `shared`: of the same trace, where other runs
/// share it.
ReplayResult replay(const Trace& trace, const ReplayOptions& options, const DecoderFactory& make,
                    const ReplayProgress& progress, TruthCache* shared = nullptr);

}  // namespace doublep
