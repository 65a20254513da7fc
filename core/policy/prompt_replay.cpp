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

namespace {
constexpr std::int64_t kStep = 64;
}

// From so far before the end that half of the index is left: of earlier ones an index of the whole
// prompt says little.
std::int64_t PromptReplay::asked_span(const ClusterIndex& index) const {
  return std::min(queries_.count,
                  std::max<std::int64_t>(1, (index.end() - index.begin()) / 2 - kStep + 1));
}

// As far from the query as it is from the first step, rounded to a step of so many tokens towards
// the front: one index for all queries of a step, and a window at most that much longer, as it is
// between two builds of an index anyway. Of a tiny prompt half of the index; never a later token.
std::int64_t PromptReplay::index_end(const ClusterIndex& index, std::int64_t visible) const {
  const std::int64_t behind = (length_ - visible + kStep - 1) / kStep * kStep;
  const std::int64_t end = std::max(index.end() - behind, (index.begin() + index.end() + 1) / 2);
  return std::min(end, std::max(index.begin(), visible));
}

}  // namespace doublep
