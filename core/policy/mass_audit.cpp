#include "core/policy/mass_audit.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/cache/logits.h"
#include "core/selection/sampled_mass.h"
#include "core/selection/top_k.h"

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

}  // namespace doublep
