// Heads differ in kind: some need no exact token, most are served by whole clusters, some by single
// tokens only, and some by nothing less than all of them. Decided for every head at prefill.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/base/matrix.h"
#include "core/base/parameters.h"
#include "core/policy/clustered_cache.h"
#include "core/policy/prompt_replay.h"
#include "core/policy/refinement.h"
#include "core/policy/token_level.h"

namespace doublep {

/// What heads that share a selection attend exactly beside sink and window, the cheapest first.
enum class HeadKind {
  kFlat,      ///< nothing: terms are right
  kClusters,  ///< whole clusters
  kTokens,    ///< single tokens of some more clusters (core/policy/token_level.h)
  kDense      ///< everything: neither is of use
};
inline constexpr HeadKind kHeadKinds[] = {HeadKind::kFlat, HeadKind::kClusters, HeadKind::kTokens,
                                          HeadKind::kDense};
std::string_view name_of(HeadKind kind);  ///< "flat", "clusters", "tokens", "dense"

/// How many of the prompt's queries tell, spread over those that were recorded; and how many times
/// the exact tokens are looked into for single ones. Of fewer than kFewestPositions
/// (core/index/query_metric.h) nothing is believed.
inline constexpr std::int64_t kKindQueries = 32;
inline constexpr double kLookedInto = 4;
/// How finely single tokens are looked at: bits an element of what a key differs from its
/// centroid by.
inline constexpr int kTokenBits = 4;

/// Heads whose error exact tokens take less than a fifth off are flat.
inline constexpr double kFlatGain = 1.25;

ParamSpecs head_kind_params();
/// Is there anything to choose? Kinds are compared at the same number of exact tokens, which only a
/// share or a number of them gives, and leave the others to terms.
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

 private:
  using Kinds = std::vector<HeadKind>;  ///< one for all heads that share a selection, or one each
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

  bool wanted_;
  double bound_;
  RankingRule rule_;
  PromptReplay prompt_;
  ResidualKeys keys_;
  int group_size_ = 0;  ///< of the heads that kinds were chosen for
  Kinds kinds_;
  Work learning_;
};

}  // namespace doublep
