// Runs a sweep: every run on every trace, results kept as they come.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/trace/trace.h"
#include "experiments/config/sweep.h"
#include "experiments/shards/shard.h"

namespace doublep {

struct RunnerOptions {
  bool fresh = false;               ///< do every run again
  bool any_program = false;         ///< take results of another build for this one's
  bool allow_mismatch = false;      ///< recorded outputs that differ are a warning, not an error
  std::optional<Shard> shard = {};  ///< the runs of this one only, and a file that says so
  /// For what the runs share: the traces as they are stored, in at most half of it, and a trace's
  /// layers and ground truth in the rest. What does not fit is read, or computed, again.
  std::int64_t truth_mebibytes = 2048;
};

struct RunnerReport {
  std::size_t total = 0, reused = 0;
  bool interrupted = false;
};

/// Progress goes to stderr. SIGINT and SIGTERM stop it after what is finished is safe.
RunnerReport run_sweep(const Sweep& sweep, const RunnerOptions& options);

/// Opens and validates every trace of the sweep, and refuses what cannot be run on them: layers
/// that a trace does not hold, a backend that is not to be had. Throws InputError.
/// They hold at most `most_held` bytes of their files.
std::vector<Trace> open_traces(const Sweep& sweep, std::int64_t most_held = kMostHeld);

/// Was this program built with the CUDA backend?
bool has_cuda();

/// A decoder for the run on its backend ("auto": cuda where there is a device and the policy has a
/// CUDA decoder). Throws InputError where the backend is not to be had.
DecoderFactory decoder_factory(const Sweep& sweep, const RunSpec& run);

}  // namespace doublep
