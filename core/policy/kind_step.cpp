#include "core/policy/kind_step.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/index/value_shift.h"
#include "core/policy/prefix_error.h"

namespace doublep {

std::string_view name_of(HeadKind kind) {
  static constexpr std::string_view kNames[] = {"flat", "clusters", "tokens", "dense"};
  return kNames[static_cast<int>(kind)];
}

KindStep::KindStep(const RankingRule& rule, const ResidualKeys& keys, const KvHead& cache,
                   const ExactZone& zone, std::shared_ptr<const ClusterIndex> index,
                   const QueryGroup& group)
    : rule_(rule),
      keys_(keys),
      cache_(cache),
      zone_(zone),
      index_(std::move(index)),
      group_(group),
      ranked_(rank_clusters(rule, cache, zone, *index_, group)),
      weighed_(ranked_.orders.size()),
      rests_(static_cast<std::size_t>(group.size)) {}

double KindStep::tokens() const { return static_cast<double>(index_->end() - index_->begin()); }

void KindStep::charge(std::span<const HeadKind> kinds, GroupSelection& out) const {
  const auto some = [&](auto... kind) {
    return (... || (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()));
  };
  if (some(HeadKind::kFlat, HeadKind::kClusters, HeadKind::kTokens))
    charge_estimate(*index_, group_, rule_.estimator, rule_.dtype, out);
  if (some(HeadKind::kClusters, HeadKind::kTokens))
    charge_refinement(cache_, zone_, *index_, rule_.refinement, rule_.dtype, out);
}

std::size_t KindStep::reach(HeadKind kind, int unit, double wanted) const {
  if (kind == HeadKind::kFlat || kind == HeadKind::kDense) return 0;
  const RefinementOrder& order = ranked_.orders[unit];
  const double tokens = kind == HeadKind::kTokens ? kLookedInto * wanted : wanted;
  return std::max(order.forced, prefix_of_tokens(order.clusters, *index_, tokens));
}

WeighedTokens& KindStep::weighed(int unit) {
  if (!weighed_[unit])
    weighed_[unit] = std::make_unique<WeighedTokens>(keys_, *index_, group_, unit * rows(), rows(),
                                                     ranked_.orders[unit].clusters,
                                                     ranked_.errors.log_totals, ranked_.token_votes);
  return *weighed_[unit];
}

void KindStep::attend(HeadKind kind, int unit, double wanted, GroupSelection& out) {
  const std::span<const std::int32_t> order = ranked_.orders[unit].clusters;
  const std::size_t inside = reach(kind, unit, wanted);
  TokenPicks picks;
  if (kind == HeadKind::kTokens) {
    picks = weighed(unit).pick(inside, wanted);
    weighed(unit).charge(inside, out);
  }
  std::vector<std::int32_t> tokens;
  if (kind == HeadKind::kDense) {
    tokens.resize(cache_.length);
    std::iota(tokens.begin(), tokens.end(), 0);
  } else {
    zone_.for_each([&](auto j) { tokens.push_back(j); });
    tokens.insert(tokens.end(), picks.tokens.begin(), picks.tokens.end());
    if (kind == HeadKind::kClusters)
      for (std::int32_t c : order.first(inside))
        tokens.insert(tokens.end(), index_->members(c).begin(), index_->members(c).end());
    std::sort(tokens.begin(), tokens.end());
  }
  const int first = unit * rows();
  for (int h = first; h < first + rows(); ++h) {
    Selection& head = out.heads[h];
    head.tokens = tokens, head.index = index_, head.target_p = 1;
    rests_[h].clear();
    if (kind == HeadKind::kTokens) rests_[h] = std::move(picks.rests[h - first]);
    if (kind == HeadKind::kDense) continue;
    for (std::int32_t c : order.subspan(inside))
      head.terms.push_back({c, ranked_.log_masses(h, c)});
  }
}

void KindStep::finish(GroupSelection& out) {
  if (rule_.shifted) shift_values(group_, out);
  // What remains of a cluster without its heaviest tokens leans nowhere: its value is the mean.
  for (int h = 0; h < group_.size; ++h) {
    auto& terms = out.heads[h].terms;
    terms.insert(terms.end(), rests_[h].begin(), rests_[h].end());
    std::sort(terms.begin(), terms.end(),
              [](const ClusterTerm& a, const ClusterTerm& b) { return a.cluster < b.cluster; });
  }
}

VectorD KindStep::predicted(HeadKind kind, int unit, double wanted) {
  if (kind == HeadKind::kDense) return VectorD::Zero(rows());
  if (left_.size() == 0) left_ = prefix_predictions(ranked_.errors.squared, ranked_.orders);
  const std::size_t inside = reach(kind, unit, wanted);
  VectorD squared =
      left_.col(static_cast<Eigen::Index>(inside)).segment(unit * rows(), rows()).cwiseAbs2();
  if (kind == HeadKind::kTokens) squared += weighed(unit).left(inside, wanted);
  return squared.cwiseSqrt();
}

}  // namespace doublep
