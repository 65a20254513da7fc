// One step of the heads of a KV head, ranked once and attended as any kind of head with any number
// of tokens.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

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

/// How many times the exact tokens are looked into for single ones.
inline constexpr double kLookedInto = 4;

class KindStep {
 public:
  /// `rule` and `keys` outlive this, and `keys` follow the index before any head is one of tokens.
  KindStep(const RankingRule& rule, const ResidualKeys& keys, const KvHead& cache,
           const ExactZone& zone, std::shared_ptr<const ClusterIndex> index,
           const QueryGroup& group);

  /// Heads that share a selection are a unit: the group, or each head. Of rows() heads.
  int units() const { return static_cast<int>(ranked_.orders.size()); }
  int rows() const { return group_.size / units(); }
  double tokens() const;  ///< of the index: more cannot be wanted

  /// Adds what ranking took, where a unit's kind, one each, needs it.
  void charge(std::span<const HeadKind> kinds, GroupSelection& out) const;
  /// The heads of a unit attend so many tokens as the kind does; adds what looking took.
  void attend(HeadKind kind, int unit, double wanted, GroupSelection& out);
  /// To be called when every unit has attended: moves the values of terms.
  void finish(GroupSelection& out);
  /// The error that attend() is predicted to leave in each head of the unit, without what values
  /// contribute (TermErrors::squared).
  VectorD predicted(HeadKind kind, int unit, double wanted);

 private:
  /// How many clusters of the unit's order are refined, or looked into.
  std::size_t reach(HeadKind kind, int unit, double wanted) const;
  WeighedTokens& weighed(int unit);

  const RankingRule& rule_;
  const ResidualKeys& keys_;
  KvHead cache_;
  ExactZone zone_;
  std::shared_ptr<const ClusterIndex> index_;
  QueryGroup group_;
  RankedClusters ranked_;
  MatrixD left_;  // predicted error left after every prefix of an order: [group, clusters + 1]
  std::vector<std::unique_ptr<WeighedTokens>> weighed_;  // by unit; null until one is asked for
  std::vector<std::vector<ClusterTerm>> rests_;          // by head, of the last attend()
};

}  // namespace doublep
