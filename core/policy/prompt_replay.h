// The prompt's recorded queries, asked again once the index over the prompt is there: what a policy
// would have done for them, where their dense output can be known.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/cache/kv_cache.h"
#include "core/index/cluster_index.h"
#include "core/policy/exact_zone.h"

namespace doublep {

class PromptReplay {
 public:
  /// Keeps the queries that the cache carries; at most `most` of them are asked. They wait for the
  /// first step, which brings the scale of the logits.
  void prefill(const KvHead& cache, std::int64_t most);
  std::int64_t recorded() const { return queries_.count; }
  std::int64_t asked() const { return asked_; }  ///< how many, 0 once they were
  /// Where the shorter indexes end that the queries are asked with, in turn. `exact`: what lies
  /// outside of the index over the prompt.
  std::vector<std::int64_t> cuts(const ExactZone& exact) const;
  /// What asking them costs, those indexes included, which belongs to the prompt. `clusters`: of
  /// the index.
  Work cost(const KvHead& cache, const ExactZone& exact, std::int64_t clusters,
            KvDtype dtype) const;
  /// Calls ask(i, cache, zone, index, group) for each, with what the query would have had in
  /// decoding: the tokens that it saw, the last ones of them exact, and of the index no token after
  /// them; and forgets the queries. They are spread over all that were recorded: neighbours
  /// resemble each other, and the last ones have made the metric, so that clusters are better for
  /// them than for those to come.
  template <class Ask>
  void each(const KvHead& cache, const ExactZone& exact,
            const std::shared_ptr<const ClusterIndex>& whole, const QueryGroup& step, Ask ask) {
    std::shared_ptr<const ClusterIndex> index = whole;
    for (std::int64_t i = 0; i < asked_; ++i) {
      const std::int64_t place = place_of(i, exact);
      const std::int64_t visible = length_ - queries_.count + place;
      const std::int64_t cut = index_end(exact, visible);
      if (cut != index->end())
        index =
            cut == whole->end() ? whole : std::make_shared<ClusterIndex>(whole->until(cache, cut));
      KvHead seen = cache;
      seen.length = visible;
      ExactZone zone = exact;
      zone.tail_begin = cut, zone.length = seen.length;
      QueryGroup group = step;
      group.queries = queries_.query(place, 0);
      ask(i, seen, zone, index, group);
    }
    asked_ = 0;
  }

 private:
  /// Which of the recorded queries is the i-th that is asked.
  std::int64_t place_of(std::int64_t i, const ExactZone& exact) const;
  /// Where the index ends for a query that sees so many tokens.
  std::int64_t index_end(const ExactZone& exact, std::int64_t visible) const;

  PrefillQueries queries_;
  std::int64_t asked_ = 0, length_ = 0;
};

}  // namespace doublep
