#include "core/policy/mass_audit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/cache/logits.h"
#include "core/cost/stages.h"
#include "core/selection/sampling.h"
#include "core/selection/top_p.h"

namespace doublep {
namespace {

std::vector<double> logits_of(const KvHead& cache, const QueryGroup& group, int head,
                              std::span<const std::int32_t> tokens) {
  MatrixF keys(static_cast<Eigen::Index>(tokens.size()), group.head_dim);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    keys.row(static_cast<Eigen::Index>(i)) = ConstRowF(cache.key(tokens[i]), group.head_dim);
  QueryGroup one = group;
  one.queries = group.query(head), one.size = 1;
  const MatrixD logits = exact_logits(one, keys.data(), keys.rows());
  return {logits.data(), logits.data() + logits.size()};
}

struct Pools {
  SamplePool terms, outside;
};

// Tokens of the index that are not exact, cluster by cluster in falling rate: evenly spaced draws
// are then stratified by the clusters' mass.
Pools pools_of(const ClusterIndex& index, const Selection& selection,
               std::span<const double> log_rates) {
  std::vector<bool> exact(index.end(), false), term(index.num_clusters(), false);
  for (std::int32_t j : selection.tokens)
    if (j < index.end()) exact[j] = true;
  for (const ClusterTerm& t : selection.terms) term[t.cluster] = true;
  Pools pools;
  std::vector<std::int32_t> rest;
  for (std::int32_t c : descending_order(log_rates)) {
    rest.clear();
    for (std::int32_t j : index.members(c))
      if (!exact[j]) rest.push_back(j);
    (term[c] ? pools.terms : pools.outside).add(rest, log_rates[c]);
  }
  return pools;
}

}  // namespace

ParamSpec audit_param() {
  return integer("audit", 0, "keys sampled per head and step to audit the covered mass; 0 = none",
                 0, 1000000);
}

MassAuditor::MassAuditor(const Parameters& parameters, const PolicyContext& context)
    : samples_(parameters.integer("audit")), context_(context) {}

MatrixD MassAuditor::log_rates(const ClusterIndex& index, const QueryGroup& group,
                               GroupSelection& out) const {
  MatrixD rates = exact_logits(group, index.centroids().data(), index.num_clusters());
  const double k = static_cast<double>(index.num_clusters());
  const VectorD squares =
      ConstMapF(group.queries, group.size, group.head_dim).cast<double>().rowwise().squaredNorm() *
      (group.softmax_scale * group.softmax_scale);
  rates += squares * index.variances().cast<double>().transpose();
  // The centroids' logits are the estimate's; an order by rate takes k log k comparisons.
  out.charge(Stage::kEstimate, 4 * k, 3 * k + k * std::log2(k + 1));
  return rates;
}

MassAudit MassAuditor::audit_head(const KvHead& cache, const ClusterIndex& index,
                                  const QueryGroup& group, int head, const MatrixD& log_rates,
                                  const Selection& selection, std::uint64_t round,
                                  StepCost& cost) const {
  const Pools pools = pools_of(
      index, selection, {log_rates.row(head).data(), static_cast<std::size_t>(log_rates.cols())});
  if (pools.outside.tokens.empty()) return {1, 1, 1};
  const bool split = !pools.terms.tokens.empty();
  const std::int64_t for_terms = split ? std::max<std::int64_t>(2, samples_ / 8) : 0;
  const std::int64_t for_outside = std::max<std::int64_t>(2, samples_ - for_terms);
  const CounterRng rng(context_.seed,
                       (static_cast<std::uint64_t>(context_.layer) << 32) |
                           static_cast<std::uint64_t>(context_.kv_head),
                       static_cast<std::uint64_t>(head), static_cast<std::uint64_t>(group.step));
  std::vector<std::int32_t> read;
  const auto logits = [&](std::span<const std::int32_t> tokens) {
    return logits_of(cache, group, head, tokens);
  };
  const auto outside =
      sample_mass(pools.outside, for_outside, rng.uniform(2 * round), logits, read);
  const auto terms =
      split ? sample_mass(pools.terms, for_terms, rng.uniform(2 * round + 1), logits, read)
            : SampledMass{outside.shift, 0, 0};
  const double draws = static_cast<double>(read.size());
  std::sort(read.begin(), read.end());
  const double keys = static_cast<double>(std::unique(read.begin(), read.end()) - read.begin());
  cost[Stage::kEstimate] +=
      Work{keys * group.head_dim * bytes_of(context_.kv_dtype), draws * (2.0 * group.head_dim + 4)};

  const double exact = log_sum_exp(logits_of(cache, group, head, selection.tokens));
  const double shift = std::max({exact, outside.shift, terms.shift});
  const double held = std::exp(exact - shift), out = std::exp(outside.shift - shift),
               in = std::exp(terms.shift - shift);
  const auto share = [&](double inside, double left) {
    const double covered = held + in * inside, all = covered + out * left;
    return all > 0 ? covered / all : 0.0;
  };
  return {share(terms.estimate, outside.estimate), share(terms.low(), outside.high()),
          share(terms.high(), outside.low())};
}

void MassAuditor::audit(const KvHead& cache, const ClusterIndex& index, const QueryGroup& group,
                        GroupSelection& out) const {
  if (!on()) return;
  const MatrixD rates = log_rates(index, group, out);
  out.audits.clear();
  for (int h = 0; h < group.size; ++h)
    out.audits.push_back(audit_head(cache, index, group, h, rates, out.heads[h], 0, out.cost[h]));
}

namespace {

// log of each cluster's width, -infinity for those that are not left outside.
std::vector<double> outside_widths(const ClusterIndex& index, const Selection& selection,
                                   const MatrixD& log_rates, int head) {
  std::vector<double> widths(index.num_clusters(), -std::numeric_limits<double>::infinity());
  for (std::int64_t c = 0; c < index.num_clusters(); ++c) {
    if (index.size(c) == 0 ||
        std::binary_search(selection.tokens.begin(), selection.tokens.end(), index.members(c)[0]))
      continue;  // whole clusters are refined: one member tells
    widths[c] = log_rates(head, c) + std::log(static_cast<double>(index.size(c)));
  }
  for (const ClusterTerm& term : selection.terms)
    widths[term.cluster] = -std::numeric_limits<double>::infinity();
  return widths;
}

void refine(const ClusterIndex& index, std::int32_t cluster, std::vector<std::int32_t>& tokens) {
  const auto members = index.members(cluster);
  const auto middle = static_cast<std::ptrdiff_t>(tokens.size());
  tokens.insert(tokens.end(), members.begin(), members.end());
  std::inplace_merge(tokens.begin(), tokens.begin() + middle, tokens.end());
}

}  // namespace

void refine_until_covered(const MassAuditor& auditor, const KvHead& cache,
                          const ClusterIndex& index, const QueryGroup& group, double p,
                          GroupSelection& out) {
  const MatrixD rates = auditor.log_rates(index, group, out);
  out.audits.clear();
  for (int h = 0; h < group.size; ++h) {
    Selection& head = out.heads[h];
    const auto widths = outside_widths(index, head, rates, h);
    const auto order = descending_order(widths);
    auto count = static_cast<std::size_t>(
        std::count_if(widths.begin(), widths.end(), [](double w) { return std::isfinite(w); }));
    out.cost[h][Stage::kSelect] += cost::order(static_cast<double>(index.num_clusters()));
    std::size_t next = 0;
    MassAudit audit{};
    for (std::uint64_t round = 0;; ++round) {
      audit = auditor.audit_head(cache, index, group, h, rates, head, round, out.cost[h]);
      if (audit.low >= p || next >= count) break;
      // Relative to the widest that is left: masses far below the first would vanish.
      double left = 0, taken = 0;
      for (std::size_t i = next; i < count; ++i)
        left += std::exp(widths[order[i]] - widths[order[next]]);
      const double widest = widths[order[next]];
      do {
        taken += std::exp(widths[order[next]] - widest);
        refine(index, order[next++], head.tokens);
      } while (next < count && taken < left / 2);
    }
    out.audits.push_back(audit);
  }
}

}  // namespace doublep
