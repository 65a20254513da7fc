#include "core/policy/head_kinds.h"

#include <algorithm>
#include <numeric>

#include "core/attention/attend.h"
#include "core/cost/stages.h"
#include "core/index/query_metric.h"
#include "core/index/value_shift.h"

namespace doublep {

std::string_view name_of(HeadKind kind) {
  static constexpr std::string_view kNames[] = {"flat", "clusters", "tokens", "dense"};
  return kNames[static_cast<int>(kind)];
}

ParamSpecs head_kind_params() {
  return {
      choice("head_kinds", "one", {"one", "auto"},
             "all heads attend whole clusters; or each what the prompt's queries show to serve "
             "it best: nothing, clusters, single tokens, everything. Clusters, too, where there "
             "are no prefill_queries, outside is not estimate, or stop is not share or tokens"),
      real("head_error", 0.5,
           "with head_kinds: auto; heads that err by more on the prompt's queries, whatever "
           "they attend, attend everything",
           1e-6, 1e3)};
}

bool chooses_head_kinds(const Parameters& p) {
  const auto& stop = p.choice("stop");
  return p.choice("head_kinds") == "auto" && p.choice("outside") == "estimate" &&
         (stop == "share" || stop == "tokens") && p.choice("gqa") != "group_union";
}

HeadKind choose_kind(const std::vector<MatrixD>& errors, double bound) {
  const MatrixD &flat = errors[0], &clusters = errors[1], &same_cost = errors[2],
                &tokens = errors[3];
  const bool single = tokens.mean() < same_cost.mean();
  const MatrixD& chosen = single ? tokens : clusters;
  if (chosen.colwise().mean().maxCoeff() > bound) return HeadKind::kDense;
  if (flat.mean() <= kFlatGain * chosen.mean()) return HeadKind::kFlat;
  return single ? HeadKind::kTokens : HeadKind::kClusters;
}

HeadKinds::HeadKinds(const Parameters& p, KvDtype dtype)
    : wanted_(chooses_head_kinds(p)),
      bound_(p.real("head_error")),
      rule_(p, dtype),
      keys_(kTokenBits, dtype) {}

void HeadKinds::prefill(const KvHead& cache, const ClusteredCache& clusters) {
  kinds_.clear();
  if (!wanted_ || cache.prefill_queries.count < kFewestPositions) return;
  prompt_.prefill(cache, kKindQueries);
  learning_ = prompt_.cost(cache, *clusters.index(), rule_.dtype);
  keys_.follow(cache, clusters.index());
  // Clusters, single tokens, and clusters at the cost of these (errors_by_kind).
  const ClusterIndex& index = *clusters.index();
  const double wanted = wanted_tokens(rule_.refinement, cache.length),
               most = static_cast<double>(index.end() - index.begin()),
               attended = 2 * std::min(most, wanted) +
                          std::min(most, wanted * tokens_at_equal_cost(cache, index));
  learning_ += cost::compare_head_kinds(
      static_cast<double>(prompt_.asked()), cache.prefill_queries.heads, attended,
      std::min(most, kLookedInto * wanted), static_cast<double>(index.num_clusters()),
      cache.head_dim, cache.value_dim);
}

bool HeadKinds::select(const KvHead& cache, const ClusteredCache& clusters, const QueryGroup& group,
                       GroupSelection& out) {
  if (prompt_.asked() > 0 && clusters.index()->num_clusters() > 0) choose(cache, clusters, group);
  if (kinds_.empty()) return false;
  attend_by(kinds_, cache, clusters.exact(), clusters.index(), group, out);
  return true;
}

void HeadKinds::add_to(IndexCost& cost) const {
  cost.build += learning_;
  cost.build += keys_.cost().build;
  const bool unused =
      !kinds_.empty() && std::find(kinds_.begin(), kinds_.end(), HeadKind::kTokens) == kinds_.end();
  if (!unused) cost.memory_bytes += keys_.cost().memory_bytes;
}

std::vector<std::string_view> HeadKinds::names() const {
  std::vector<std::string_view> names;
  names.reserve(static_cast<std::size_t>(group_size_));
  for (int h = 0; h < group_size_; ++h)
    names.push_back(name_of(kinds_[kinds_.size() == 1 ? 0 : static_cast<std::size_t>(h)]));
  return names;
}

void HeadKinds::attend_by(const Kinds& kinds, const KvHead& cache, const ExactZone& zone,
                          const std::shared_ptr<const ClusterIndex>& index, const QueryGroup& group,
                          GroupSelection& out, double scale) {
  const auto some = [&](auto... kind) {
    return (... || (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()));
  };
  if (some(HeadKind::kFlat, HeadKind::kClusters, HeadKind::kTokens))
    charge_estimate(*index, group, rule_.estimator, rule_.dtype, out);
  if (some(HeadKind::kClusters, HeadKind::kTokens))
    charge_refinement(cache, zone, *index, rule_.refinement, rule_.dtype, out);
  if (some(HeadKind::kTokens)) keys_.follow(cache, index);
  const RankedClusters ranked = rank_clusters(rule_, cache, zone, *index, group);
  const double wanted = scale * wanted_tokens(rule_.refinement, cache.length);
  std::vector<std::vector<ClusterTerm>> rests(group.size);
  const int rows = group.size / static_cast<int>(kinds.size());
  for (int first = 0; first < group.size; first += rows) {
    const HeadKind kind = kinds[first / rows];
    std::span<const std::int32_t> order = ranked.orders[first / rows].clusters, inside;
    TokenPicks picks;
    if (kind == HeadKind::kClusters || kind == HeadKind::kTokens) {
      const double reach = kind == HeadKind::kTokens ? kLookedInto * wanted : wanted;
      inside = order.first(prefix_of_tokens(ranked.orders[first / rows].clusters, *index, reach));
    }
    if (kind == HeadKind::kTokens)
      picks = pick_tokens(keys_, *index, group, first, rows, inside, wanted,
                          ranked.errors.log_totals, out);
    std::vector<std::int32_t> tokens;
    if (kind == HeadKind::kDense) {
      tokens.resize(cache.length);
      std::iota(tokens.begin(), tokens.end(), 0);
    } else {
      zone.for_each([&](auto j) { tokens.push_back(j); });
      tokens.insert(tokens.end(), picks.tokens.begin(), picks.tokens.end());
      if (kind == HeadKind::kClusters)
        for (std::int32_t c : inside)
          tokens.insert(tokens.end(), index->members(c).begin(), index->members(c).end());
      std::sort(tokens.begin(), tokens.end());
    }
    for (int h = first; h < first + rows; ++h) {
      Selection& head = out.heads[h];
      head.tokens = tokens, head.index = index, head.target_p = 1;
      if (kind == HeadKind::kDense) continue;
      for (std::int32_t c : order.subspan(inside.size()))
        head.terms.push_back({c, ranked.log_masses(h, c)});
    }
    for (int h = first; h < first + rows && kind == HeadKind::kTokens; ++h)
      rests[h] = std::move(picks.rests[h - first]);
  }
  if (rule_.shifted) shift_values(group, out);
  // What remains of a cluster without its heaviest tokens leans nowhere: its value is the mean.
  for (int h = 0; h < group.size; ++h)
    out.heads[h].terms.insert(out.heads[h].terms.end(), rests[h].begin(), rests[h].end());
  for (Selection& head : out.heads)
    std::sort(head.terms.begin(), head.terms.end(),
              [](const ClusterTerm& a, const ClusterTerm& b) { return a.cluster < b.cluster; });
}

// Single tokens read keys in a few bits, and the mean value of every cluster, where whole clusters
// spare theirs.
double HeadKinds::tokens_at_equal_cost(const KvHead& cache, const ClusterIndex& index) const {
  const double token = bytes_of(rule_.dtype) * (cache.head_dim + cache.value_dim),
               spared = bytes_of(rule_.dtype) * cache.value_dim *
                        static_cast<double>(index.num_clusters()) /
                        static_cast<double>(index.end() - index.begin());
  return (token + kLookedInto * keys_.bytes_per_token()) / std::max(token - spared, token / 2);
}

std::vector<VectorD> HeadKinds::errors_by_kind(const KvHead& cache, const ExactZone& zone,
                                               const std::shared_ptr<const ClusterIndex>& index,
                                               const QueryGroup& group) {
  const auto units = rule_.gqa == NucleusOptions::Gqa::kGroupSum ? 1 : group.size;
  std::vector<MatrixD> outputs;
  const auto attend_as = [&](HeadKind kind, double scale) {
    GroupSelection out(group.size);
    attend_by(Kinds(units, kind), cache, zone, index, group, out, scale);
    MatrixF output(group.size, cache.value_dim);
    std::vector<double> log_sums(group.size);
    attend(cache, group, out.heads, output.data(), log_sums.data());
    outputs.push_back(output.cast<double>());
  };
  attend_as(HeadKind::kFlat, 1), attend_as(HeadKind::kClusters, 1);
  attend_as(HeadKind::kClusters, tokens_at_equal_cost(cache, *index));
  attend_as(HeadKind::kTokens, 1);
  attend_as(HeadKind::kDense, 1);
  const MatrixD& dense = outputs.back();
  std::vector<VectorD> errors;
  for (std::size_t i = 0; i + 1 < outputs.size(); ++i)
    errors.push_back((outputs[i] - dense)
                         .rowwise()
                         .norm()
                         .cwiseQuotient(dense.rowwise().norm().cwiseMax(1e-300)));
  return errors;
}

void HeadKinds::choose(const KvHead& cache, const ClusteredCache& clusters,
                       const QueryGroup& group) {
  const ResidualKeys keys = keys_;  // the index of an earlier query needs others
  std::vector<MatrixD> errors(std::size(kHeadKinds), MatrixD(prompt_.asked(), group.size));
  prompt_.each(cache, clusters, group,
               [&](std::int64_t i, const KvHead& seen, const ExactZone& zone,
                   const std::shared_ptr<const ClusterIndex>& index, const QueryGroup& asked) {
                 const auto found = errors_by_kind(seen, zone, index, asked);
                 for (std::size_t k = 0; k < found.size(); ++k)
                   errors[k].row(i) = found[k].transpose();
               });
  keys_ = keys;
  group_size_ = group.size;
  const int rows = rule_.gqa == NucleusOptions::Gqa::kGroupSum ? group.size : 1;
  for (int first = 0; first < group.size; first += rows) {
    std::vector<MatrixD> mine;
    mine.reserve(errors.size());
    for (const MatrixD& all : errors) mine.push_back(all.middleCols(first, rows));
    kinds_.push_back(choose_kind(mine, bound_));
  }
}

}  // namespace doublep
