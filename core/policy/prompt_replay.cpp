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

}  // namespace doublep
