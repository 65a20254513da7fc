// Union of ascending lists of tokens or clusters.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

namespace doublep {

/// Adds what `more` has to `all`; both ascending. Most groups select the same, or nothing yet:
/// neither is merged.
inline void unite(std::vector<std::int32_t>& all, const std::vector<std::int32_t>& more) {
  if (all == more) return;
  if (all.empty()) {
    all = more;
    return;
  }
  std::vector<std::int32_t> merged;
  merged.reserve(all.size() + more.size());
  std::set_union(all.begin(), all.end(), more.begin(), more.end(), std::back_inserter(merged));
  all = std::move(merged);
}

}  // namespace doublep
