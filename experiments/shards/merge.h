// The shards of a sweep put together to its result.
#pragma once

#include <string>
#include <vector>

namespace doublep {

/// Writes to `output` what one run of the whole sweep would have written: the same runs, rows and
/// names; times, and where it was computed, are the shards' own (of the file: the first shard's).
/// Returns the number of runs. Throws InputError, and leaves `output` as it was, where a file is
/// damaged or no shard, shards are of different sweeps, cut into different numbers or, unless
/// `any_program`, computed by different builds, one stands twice, or one is missing: it is named,
/// with how many runs are.
std::size_t merge_shards(const std::vector<std::string>& files, const std::string& output,
                         bool any_program);

}  // namespace doublep
