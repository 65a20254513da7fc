// Shards: a sweep's runs dealt out to several processes or machines, each the same ones wherever it
// is asked. A run is one policy with its parameters and seed on one trace.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "core/trace/trace.h"
#include "experiments/config/sweep.h"

namespace doublep {

/// The index-th of `count`, from 1.
struct Shard {
  int index = 1, count = 1;

  std::string text() const;  ///< "2/4"
  bool operator==(const Shard&) const = default;
};

/// "2/4". Throws InputError, as --shard.
Shard parse_shard(const std::string& text);
/// "r.h5" -> "r.h5.shards/2-of-4.h5": where a shard of that result lies if nothing else is said.
std::string shard_path(const std::string& output, const Shard& shard);

/// What a run is expected to take, in nanoseconds of one core (an x86 server; of another machine,
/// and of a GPU, the proportions alone are meant): measuring it, its policy's steps, and its index.
/// It follows from the trace's shape, the steps that are measured, and what the policy ranks
/// (PolicyTraits::search).
double predicted_cost(const RunSpec& run, const TraceInfo& info, const ReplayOptions& replay);
/// What a trace's ground truth is expected to take, which runs beside each other share.
double predicted_truth(const TraceInfo& info, const ReplayOptions& replay);

/// The places, in the expanded sweep (trace by trace), of the runs that a shard does, ascending;
/// without one, of all. Throws InputError where there are fewer runs than shards.
std::vector<std::size_t> runs_of(const std::optional<Shard>& shard, const Sweep& sweep,
                                 const std::vector<Trace>& traces);

}  // namespace doublep
