#include "core/policy/head_kinds.h"

#include <algorithm>

#include "core/attention/attend.h"
#include "core/cost/stages.h"
#include "core/index/query_metric.h"
#include "core/policy/promise_learner.h"

namespace doublep {

ParamSpecs head_kind_params() {
  return {
      choice("head_kinds", "one", {"one", "auto"},
             "all heads attend whole clusters; or each what the prompt's queries show to serve "
             "it best: nothing, clusters, single tokens, everything. Clusters, too, where there "
             "are no prefill_queries, outside is not estimate, or stop is none of share, tokens, "
             "and error with calibration: prompt"),
      real("head_error", 0.5,
           "with head_kinds: auto; heads that err by more on the prompt's queries, whatever "
           "they attend, attend everything",
           1e-6, 1e3)};
}

bool chooses_head_kinds(const Parameters& p) {
  const auto& stop = p.choice("stop");
  return p.choice("head_kinds") == "auto" && p.choice("outside") == "estimate" &&
         (stop == "share" || stop == "tokens" ||
          (stop == "error" && p.choice("calibration") == "prompt")) &&
         p.choice("gqa") != "group_union";
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
      promise_(promise_options(p)),
      rule_(p, dtype),
      keys_(kTokenBits, dtype) {
  rule_.refinement.calibrated = promises();
}

void HeadKinds::prefill(const KvHead& cache, const ClusteredCache& clusters) {
  kinds_.clear();
  if (!wanted_) return;
  if (by_error())
    expect_queries(cache, promise_);
  else if (cache.prefill_queries.count < kFewestPositions)
    return;
  const ClusterIndex& index = *clusters.index();
  prompt_.prefill(cache, by_error() ? promise_.queries : kKindQueries);
  keys_.follow(cache, clusters.index());
  learning_ = prompt_.cost(cache, clusters.exact(), index.num_clusters(), rule_.dtype);
  learning_ += comparing(cache, index);
  for (std::int64_t cut : prompt_.cuts(clusters.exact()))  // keys in a few bits of each index, too
    learning_ +=
        cost::quantise(static_cast<double>(cut - index.begin()), cache.head_dim, rule_.dtype);
}

Work HeadKinds::comparing(const KvHead& cache, const ClusterIndex& index) const {
  const auto most = static_cast<double>(index.end() - index.begin()),
             clusters = static_cast<double>(index.num_clusters()),
             queries = static_cast<double>(prompt_.asked());
  const int heads = cache.prefill_queries.heads;
  if (by_error()) {  // two kinds on every rung; tokens are looked into once, and ordered on each
    const Ladder ladder = Ladder::of(most);
    return cost::compare_head_kinds(queries, heads, 2 * ladder.tokens, 2 * ladder.rungs, most,
                                    std::min(kLookedInto * ladder.tokens, most * ladder.rungs),
                                    clusters, cache.head_dim, cache.value_dim);
  }
  // Clusters, single tokens, and clusters at the cost of these (errors_by_kind); nothing.
  const double wanted = wanted_tokens(rule_.refinement, cache.length),
               attended = 2 * std::min(most, wanted) +
                          std::min(most, wanted * tokens_at_equal_cost(cache, index)),
               looked_into = std::min(most, kLookedInto * wanted);
  return cost::compare_head_kinds(queries, heads, attended, 4, looked_into, looked_into, clusters,
                                  cache.head_dim, cache.value_dim);
}

bool HeadKinds::select(const KvHead& cache, const ClusteredCache& clusters, const QueryGroup& group,
                       GroupSelection& out) {
  if (prompt_.asked() > 0 && clusters.index()->num_clusters() > 0) {
    const ResidualKeys keys = keys_;  // the index of an earlier query needs others
    group_size_ = group.size;
    by_error() ? choose_by_promise(cache, clusters, group) : choose(cache, clusters, group);
    keys_ = keys;
  }
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
  if (std::find(kinds.begin(), kinds.end(), HeadKind::kTokens) != kinds.end())
    keys_.follow(cache, index);
  KindStep step(rule_, keys_, cache, zone, index, group);
  step.charge(kinds, out);
  for (int u = 0; u < step.units(); ++u)
    step.attend(kinds[u], u,
                by_error() ? promised_tokens(step, kinds[u], u, factors_, rule_.refinement.error)
                           : scale * wanted_tokens(rule_.refinement, cache.length),
                out);
  step.finish(out);
  for (int h = 0; h < group.size && by_error(); ++h)
    out.heads[h].target_error = rule_.refinement.error, out.heads[h].error_factor = factors_[h];
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
  std::vector<MatrixD> errors(std::size(kHeadKinds), MatrixD(prompt_.asked(), group.size));
  prompt_.each(cache, clusters.exact(), clusters.index(), group,
               [&](std::int64_t i, const KvHead& seen, const ExactZone& zone,
                   const std::shared_ptr<const ClusterIndex>& index, const QueryGroup& asked) {
                 const auto found = errors_by_kind(seen, zone, index, asked);
                 for (std::size_t k = 0; k < found.size(); ++k)
                   errors[k].row(i) = found[k].transpose();
               });
  const int rows = rule_.gqa == NucleusOptions::Gqa::kGroupSum ? group.size : 1;
  for (int first = 0; first < group.size; first += rows) {
    std::vector<MatrixD> mine;
    mine.reserve(errors.size());
    for (const MatrixD& all : errors) mine.push_back(all.middleCols(first, rows));
    kinds_.push_back(choose_kind(mine, bound_));
  }
}

void HeadKinds::choose_by_promise(const KvHead& cache, const ClusteredCache& clusters,
                                  const QueryGroup& group) {
  KindPromise promise(promise_, rule_.refinement.error);
  prompt_.each(cache, clusters.exact(), clusters.index(), group,
               [&](std::int64_t, const KvHead& seen, const ExactZone& zone,
                   const std::shared_ptr<const ClusterIndex>& index, const QueryGroup& asked) {
                 keys_.follow(seen, index);
                 KindStep step(rule_, keys_, seen, zone, index, asked);
                 promise.learn(step, seen, asked, rule_.dtype);
               });
  KindPromise::Chosen chosen = promise.choose();
  kinds_ = std::move(chosen.kinds), factors_ = std::move(chosen.factors);
}

}  // namespace doublep
