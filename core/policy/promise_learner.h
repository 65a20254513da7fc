// What an ErrorPromise is learnt from: queries of the prompt, or the first steps, whose dense
// outputs are known.
#pragma once

#include "core/cost/stages.h"
#include "core/policy/error_promise.h"
#include "core/policy/prompt_replay.h"
#include "core/policy/refinement.h"

namespace doublep {

/// Throws InputError where the cache carries too few of the prompt's queries for the promise.
void expect_queries(const KvHead& cache, const PromiseOptions& promise);

class PromiseLearner {
 public:
  PromiseLearner(const Parameters& parameters, KvDtype dtype);

  /// calibration is another than none.
  bool active() const { return promise_.options().source != PromiseOptions::Source::kNone; }
  /// With calibration: prompt. Throws InputError where the cache carries too few queries.
  /// `exact`: what lies outside of the index over the prompt; `clusters`: of that index.
  void prefill(const KvHead& cache, const ExactZone& exact, std::int64_t clusters);
  /// What the prompt's queries cost: it belongs to the prompt.
  const Work& cost() const { return cost_; }
  /// Is the coming step to attend everything, and be learnt from?
  bool wants_step() const;
  void learn_from_step(const KvHead& cache, const ExactZone& exact,
                       const std::shared_ptr<const ClusterIndex>& index, const QueryGroup& group);
  /// Do the prompt's queries still wait for the first step, which brings the scale of the logits?
  bool wants_prompt() const { return prompt_.asked() > 0; }
  /// Before the first step selects, over the index that it will select from; of `group` the queries
  /// are not read. Does nothing at later ones.
  void learn_from_prompt(const KvHead& cache, const ExactZone& exact,
                         const std::shared_ptr<const ClusterIndex>& index, const QueryGroup& group);
  VectorD factors(int group_size) const { return promise_.factors(group_size); }

 private:
  void learn(const KvHead& cache, const ExactZone& zone,
             const std::shared_ptr<const ClusterIndex>& index, const QueryGroup& group);

  ErrorPromise promise_;
  RankingRule rule_;
  PromptReplay prompt_;
  Work cost_;
};

}  // namespace doublep
