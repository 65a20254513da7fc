// Dealing runs out to shards of about equal cost: the same way each time.
#pragma once

#include <vector>

namespace doublep {

/// For each run its shard, from 0. `costs`, above 0, are by trace and run; a shard that has a run
/// of trace t also pays shared[t], once. Of two ways the one whose busiest shard has less to do:
/// run by run, the costliest first, or in stretches of the sweep, which keep a trace's runs
/// together. No shard stays empty where there are as many runs.
std::vector<int> deal(const std::vector<std::vector<double>>& costs,
                      const std::vector<double>& shared, int shards);

}  // namespace doublep
