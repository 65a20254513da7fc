#include "core/policy/promise_learner.h"

#include "core/base/error.h"
#include "core/index/value_shift.h"
#include "core/policy/prefix_error.h"

namespace doublep {

PromiseLearner::PromiseLearner(const Parameters& p, KvDtype dtype)
    : promise_(promise_options(p), p.real("error")), rule_(p, dtype) {
  rule_.refinement.calibrated = active();
}

bool PromiseLearner::wants_step() const {
  return promise_.options().source == PromiseOptions::Source::kSteps &&
         promise_.learned() < promise_.options().queries;
}

void expect_queries(const KvHead& cache, const PromiseOptions& promise) {
  const std::int64_t least = fewest_queries(promise.alpha);
  if (cache.prefill_queries.count < least)
    fail_input("calibration: prompt needs ", least, " of the prompt's last queries, and the trace ",
               "holds ", cache.prefill_queries.count,
               "; record them, or set calibration to steps or none");
}

void PromiseLearner::prefill(const KvHead& cache, const ExactZone& exact, std::int64_t clusters) {
  if (promise_.options().source != PromiseOptions::Source::kPrompt) return;
  expect_queries(cache, promise_.options());
  prompt_.prefill(cache, promise_.options().queries);
  cost_ = prompt_.cost(cache, exact, clusters, rule_.dtype);
}

// What the group would have needed for one query over so many tokens.
void PromiseLearner::learn(const KvHead& cache, const ExactZone& zone,
                           const std::shared_ptr<const ClusterIndex>& index,
                           const QueryGroup& group) {
  const RankedClusters ranked = rank_clusters(rule_, cache, zone, *index, group);
  GroupSelection terms(group.size);
  for (int h = 0; h < group.size; ++h) {
    terms.heads[h].index = index;
    for (std::int32_t c = 0; c < index->num_clusters(); ++c)
      if (index->size(c) > 0) terms.heads[h].terms.push_back({c, ranked.log_masses(h, c)});
  }
  if (rule_.shifted) shift_values(group, terms);
  promise_.learn(prefix_predictions(ranked.errors.squared, ranked.orders),
                 prefix_errors(cache, zone, group, terms, ranked.orders), ranked.orders);
}

void PromiseLearner::learn_from_step(const KvHead& cache, const ExactZone& exact,
                                     const std::shared_ptr<const ClusterIndex>& index,
                                     const QueryGroup& group) {
  learn(cache, exact, index, group);
}

void PromiseLearner::learn_from_prompt(const KvHead& cache, const ExactZone& exact,
                                       const std::shared_ptr<const ClusterIndex>& index,
                                       const QueryGroup& group) {
  prompt_.each(cache, exact, index, group,
               [&](std::int64_t, const KvHead& seen, const ExactZone& zone,
                   const std::shared_ptr<const ClusterIndex>& shorter,
                   const QueryGroup& asked) { learn(seen, zone, shorter, asked); });
}

}  // namespace doublep
