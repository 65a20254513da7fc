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

/// Keys and values that are in memory at a time where nothing else is said, bytes as float32.
inline constexpr std::int64_t kMostRead = std::int64_t{1} << 30;

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

/// Makes a decoder for the KV heads of a layer from the given one on.
using DecoderFactory = std::function<std::unique_ptr<Decoder>(int layer, int first_kv_head)>;
/// Called after each measured step with the share of the replay that is done; returns false to
/// stop.
using ReplayProgress = std::function<bool(double done)>;

/// The layers of a replay in parts of as many KV heads as fit into `most_bytes`, but one at least.
/// No result depends on it: KV heads know nothing of each other.
std::vector<LayerPart> parts_of(const Trace& trace, const ReplayOptions& options,
                                std::int64_t most_bytes = kMostRead);

/// Replays some parts, which are in memory one at a time. Throws Interrupted where ReplayProgress
/// said stop. `shared`: of the same trace, where other runs share it.
ReplayResult replay(const Trace& trace, const ReplayOptions& options,
                    const std::vector<LayerPart>& parts, const DecoderFactory& make,
                    const ReplayProgress& progress, TruthCache* shared = nullptr);
/// All layers of the options.
inline ReplayResult replay(const Trace& trace, const ReplayOptions& options,
                           const DecoderFactory& make, const ReplayProgress& progress,
                           TruthCache* shared = nullptr) {
  return replay(trace, options, parts_of(trace, options), make, progress, shared);
}

/// One run's results of parts, in the order of parts_of, as one: a layer's summaries too.
ReplayResult joined(std::vector<ReplayResult> parts);

}  // namespace doublep
