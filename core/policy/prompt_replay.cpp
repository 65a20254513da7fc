#include "core/policy/prompt_replay.h"

#include <algorithm>

#include "core/cost/stages.h"

namespace doublep {

void PromptReplay::prefill(const KvHead& cache, std::int64_t most) {
  queries_ = cache.prefill_queries, length_ = cache.length;
  asked_ = std::min(queries_.count, most);
}

Work PromptReplay::cost(const KvHead& cache, const ClusterIndex& index, KvDtype dtype) const {
  return cost::learn_factors(
      static_cast<double>(asked_), queries_.heads, static_cast<double>(length_),
      static_cast<double>(index.num_clusters()), cache.head_dim, cache.value_dim, dtype);
}

// As far from the query as it is from the first step, rounded to a step of so many tokens towards
// the front: one index for all queries of a step, and a window at most that much longer, as it is
// between two builds of an index anyway. At least half of the index: of a prompt hardly longer than
// its last queries nothing could be learnt otherwise.
std::int64_t PromptReplay::index_end(const ClusterIndex& index, std::int64_t visible) const {
  constexpr std::int64_t kStep = 64;
  const std::int64_t behind = (length_ - visible + kStep - 1) / kStep * kStep;
  return std::max(index.end() - behind, (index.begin() + index.end() + 1) / 2);
}

}  // namespace doublep
