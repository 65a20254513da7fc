#include "core/policy/prompt_replay.h"

#include <algorithm>

#include "core/cost/stages.h"

namespace doublep {

void PromptReplay::prefill(const KvHead& cache, std::int64_t most) {
  queries_ = cache.prefill_queries, length_ = cache.length;
  asked_ = std::min(queries_.count, most);
}

Work PromptReplay::cost(const KvHead& cache, const ExactZone& exact, std::int64_t clusters,
                        KvDtype dtype) const {
  Work work =
      cost::learn_factors(static_cast<double>(asked_), queries_.heads, static_cast<double>(length_),
                          static_cast<double>(clusters), cache.head_dim, cache.value_dim, dtype);
  for (std::int64_t cut : cuts(exact))
    work += cost::cluster_means(static_cast<double>(cut - exact.sink_end), cache.head_dim,
                                cache.value_dim, dtype);
  return work;
}

std::vector<std::int64_t> PromptReplay::cuts(const ExactZone& exact) const {
  std::vector<std::int64_t> cuts;
  std::int64_t last = exact.tail_begin;
  for (std::int64_t i = 0; i < asked_; ++i) {
    const std::int64_t cut = index_end(exact, length_ - queries_.count + place_of(i, exact));
    if (cut != last && cut != exact.tail_begin) cuts.push_back(cut);
    last = cut;
  }
  return cuts;
}

namespace {
constexpr std::int64_t kStep = 64;
}

// Spread over the last of them, from so far before the end that half of the index is left: of
// earlier ones an index of the whole prompt says little.
std::int64_t PromptReplay::place_of(std::int64_t i, const ExactZone& exact) const {
  const std::int64_t span =
      std::min(queries_.count,
               std::max<std::int64_t>(1, (exact.tail_begin - exact.sink_end) / 2 - kStep + 1));
  return queries_.count - span + (2 * i + 1) * span / (2 * asked_);
}

// As far from the query as it is from the first step, rounded to a step of so many tokens towards
// the front: one index for all queries of a step, and a window at most that much longer, as it is
// between two builds of an index anyway. Of a tiny prompt half of the index; never a later token.
std::int64_t PromptReplay::index_end(const ExactZone& exact, std::int64_t visible) const {
  const std::int64_t behind = (length_ - visible + kStep - 1) / kStep * kStep;
  const std::int64_t end =
      std::max(exact.tail_begin - behind, (exact.sink_end + exact.tail_begin + 1) / 2);
  return std::min(end, std::max(exact.sink_end, visible));
}

}  // namespace doublep
