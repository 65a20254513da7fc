// Heads differ in kind: some need no exact token, most are served by whole clusters, some by single
// tokens only, and some by nothing less than all of them. Decided for every head at prefill.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/base/matrix.h"
#include "core/base/parameters.h"
#include "core/policy/clustered_cache.h"
#include "core/policy/kind_promise.h"
#include "core/policy/prompt_replay.h"

namespace doublep {

/// How many of the prompt's queries tell, spread over those that were recorded, where no promise of
/// error asks for another number. Of fewer than kFewestPositions (core/index/query_metric.h)
/// nothing is believed.
inline constexpr std::int64_t kKindQueries = 32;
/// How finely single tokens are looked at: bits an element of what a key differs from its
/// centroid by.
inline constexpr int kTokenBits = 4;

/// Heads whose error exact tokens take less than a fifth off are flat.
inline constexpr double kFlatGain = 1.25;

ParamSpecs head_kind_params();
/// Is there anything to choose? Kinds are compared at the same number of exact tokens, which a
/// share or a number of them gives, or at the same promise of error, which is learnt from the
/// prompt; and they leave the others to terms.
bool chooses_head_kinds(const Parameters& parameters);

/// What the heads that share a selection are. `errors`: by flat, clusters, as many tokens in whole
/// clusters as single tokens cost, and single tokens; [queries, heads] each. Single tokens where
/// they err by less than clusters of equal cost, in the mean over all; dense where the worst head
/// errs by more than `bound` even so, in the mean over the queries; flat where it hardly matters.
HeadKind choose_kind(const std::vector<MatrixD>& errors, double bound);

/// Chooses the kinds at the first step, which brings the scale of the logits, and from then on what
/// every head attends.
class HeadKinds {
 public:
  HeadKinds(const Parameters& parameters, KvDtype dtype);

  void prefill(const KvHead& cache, const ClusteredCache& clusters);
  /// False where there is nothing to choose, or no cluster yet to choose by: then `out` is as it
  /// was.
  bool select(const KvHead& cache, const ClusteredCache& clusters, const QueryGroup& group,
              GroupSelection& out);
  /// Adds the keys in a few bits, and what the prompt's queries cost.
  void add_to(IndexCost& cost) const;
  std::vector<std::string_view> names() const;  ///< one a head; empty before the first step
  /// Do kinds keep the promise of error, so that nothing else has to learn one?
  bool promises() const { return wanted_ && by_error(); }

 private:
  using Kinds = std::vector<HeadKind>;  ///< one for all heads that share a selection, or one each
  bool by_error() const { return rule_.refinement.stop == RefinementOptions::Stop::kError; }
  /// So many tokens each, times `scale`; with a stop by error what keeps the promise.
  void attend_by(const Kinds& kinds, const KvHead& cache, const ExactZone& zone,
                 const std::shared_ptr<const ClusterIndex>& index, const QueryGroup& group,
                 GroupSelection& out, double scale = 1);
  /// How many tokens in whole clusters cost what a single token does.
  double tokens_at_equal_cost(const KvHead& cache, const ClusterIndex& index) const;
  /// How the heads would have erred, as choose_kind() asks: [heads] each.
  std::vector<VectorD> errors_by_kind(const KvHead& cache, const ExactZone& zone,
                                      const std::shared_ptr<const ClusterIndex>& index,
                                      const QueryGroup& group);
  void choose(const KvHead& cache, const ClusteredCache& clusters, const QueryGroup& group);
  void choose_by_promise(const KvHead& cache, const ClusteredCache& clusters,
                         const QueryGroup& group);
  /// What asking the prompt's queries costs beside PromptReplay::cost().
  Work comparing(const KvHead& cache, const ClusterIndex& index) const;

  bool wanted_;
  double bound_;
  PromiseOptions promise_;
  RankingRule rule_;
  PromptReplay prompt_;
  ResidualKeys keys_;
  int group_size_ = 0;  ///< of the heads that kinds were chosen for
  Kinds kinds_;
  VectorD factors_;  // of a promise, by head
  Work learning_;
};

}  // namespace doublep
