#include "core/policy/promise_learner.h"

#include "core/base/error.h"
#include "core/index/value_shift.h"
#include "core/policy/prefix_error.h"

namespace doublep {

PromiseLearner::PromiseLearner(const Parameters& p, KvDtype dtype)
    : promise_(promise_options(p), p.real("error")),
      estimator_(parse_estimator(p)),
      refinement_(refinement_options(p)),
      gqa_(nucleus_options(p).gqa),
      shifted_(parse_value_shift(p)),
      dtype_(dtype) {
  refinement_.calibrated = active();
}

bool PromiseLearner::wants_step() const {
  return promise_.options().source == PromiseOptions::Source::kSteps &&
         promise_.learned() < promise_.options().queries;
}

void PromiseLearner::prefill(const KvHead& cache, const ClusteredCache& clusters) {
  if (promise_.options().source != PromiseOptions::Source::kPrompt) return;
  prompt_.prefill(cache, promise_.options().queries);
  const std::int64_t least = fewest_queries(promise_.options().alpha);
  if (prompt_.recorded() < least)
    fail_input("calibration: prompt needs ", least, " of the prompt's last queries, and the trace ",
               "holds ", prompt_.recorded(), "; record them, or set calibration to steps or none");
  cost_ = prompt_.cost(cache, *clusters.index(), dtype_);
}

// What the group would have needed for one query over so many tokens.
void PromiseLearner::learn(const KvHead& cache, const ExactZone& zone,
                           const ClusteredCache& clusters, const QueryGroup& group) {
  const auto& index = clusters.index();
  const MatrixD log_masses = estimate_log_masses(*index, group, estimator_);
  const TermErrors errors = term_errors(cache, zone, group, *index, log_masses,
                                        logit_variances(*index, group), refinement_.needs_values());
  const auto orders =
      refinement_orders(refinement_, gqa_, *index, group,
                        refinement_scores(refinement_, *index, group, errors), errors);
  GroupSelection terms(group.size);
  for (int h = 0; h < group.size; ++h) {
    terms.heads[h].index = index;
    for (std::int32_t c = 0; c < index->num_clusters(); ++c)
      if (index->size(c) > 0) terms.heads[h].terms.push_back({c, log_masses(h, c)});
  }
  if (shifted_) shift_values(group, terms);
  promise_.learn(prefix_predictions(errors.squared, orders),
                 prefix_errors(cache, zone, group, terms, orders), orders);
}

void PromiseLearner::learn_from_step(const KvHead& cache, const ClusteredCache& clusters,
                                     const QueryGroup& group) {
  learn(cache, clusters.exact(), clusters, group);
}

void PromiseLearner::learn_from_prompt(const KvHead& cache, const ClusteredCache& clusters,
                                       const QueryGroup& group) {
  prompt_.each(cache, clusters, group,
               [&](std::int64_t, const KvHead& seen, const ExactZone& zone,
                   const QueryGroup& asked) { learn(seen, zone, clusters, asked); });
}

}  // namespace doublep
