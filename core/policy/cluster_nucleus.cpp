#include "core/policy/cluster_nucleus.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/cost/stages.h"
#include "core/policy/term_error.h"
#include "core/selection/selection.h"
#include "core/selection/top_p.h"

namespace doublep {
namespace {

using Sets = std::vector<std::vector<std::int32_t>>;  // one per share

// Shares of one vector of masses, taken in the order of `scores`, or of the masses where there are
// none; `held` is the exact zone's mass where it counts, else 0.
Sets nuclei(std::span<const double> masses, std::span<const double> scores, double held,
            std::span<const double> shares) {
  double total = held;
  for (double m : masses) total += m;
  Sets sets;
  const auto order = descending_order(scores);
  for (double p : shares) {
    if (scores.empty()) {
      sets.push_back(top_p_set(masses, p, total, held));
      continue;
    }
    const auto n = top_p_prefix(masses, order, p, total, held);
    sets.emplace_back(order.begin(), order.begin() + n);
    std::sort(sets.back().begin(), sets.back().end());
  }
  return sets;
}

}  // namespace

ParamSpecs nucleus_params() {
  return {choice("mass_scope", "clusters", {"clusters", "all"},
                 "p refers to the mass of the clusters, or of sink and window too"),
          choice("gqa", "per_head", {"per_head", "group_sum", "group_union"},
                 "a selection per query head, or one per KV head")};
}

NucleusOptions nucleus_options(const Parameters& p) {
  NucleusOptions options;
  using Gqa = NucleusOptions::Gqa;
  options.scope = p.choice("mass_scope") == "all" ? NucleusOptions::Scope::kAll
                                                  : NucleusOptions::Scope::kClusters;
  const auto& gqa = p.choice("gqa");
  options.gqa = gqa == "group_sum"     ? Gqa::kGroupSum
                : gqa == "group_union" ? Gqa::kGroupUnion
                                       : Gqa::kPerHead;
  return options;
}

std::vector<std::vector<std::vector<std::int32_t>>> cluster_nuclei(
    const KvHead& cache, const ExactZone& exact, const QueryGroup& group, const MatrixD& log_masses,
    std::span<const double> shares, const NucleusOptions& options, KvDtype dtype,
    GroupSelection& out, const MatrixD* scores, const VectorD* zone_masses) {
  const auto k = static_cast<std::size_t>(log_masses.cols());
  out.charge_heads(Stage::kSelect, cost::order(static_cast<double>(k)));
  VectorD zone = VectorD::Constant(group.size, -std::numeric_limits<double>::infinity());
  if (options.scope == NucleusOptions::Scope::kAll && zone_masses) {
    zone = *zone_masses;
  } else if (options.scope == NucleusOptions::Scope::kAll) {
    zone = zone_log_masses(cache, exact, group);
    const double n = static_cast<double>(exact.size());
    out.charge(Stage::kEstimate, cost::weigh_keys(n, group.head_dim, plain_dtype(dtype)));
  }
  std::vector<Sets> sets;
  VectorD summed = VectorD::Zero(static_cast<Eigen::Index>(k));
  double summed_zone = 0;
  for (int h = 0; h < group.size; ++h) {
    double shift;
    auto masses = relative_masses({log_masses.row(h).data(), k}, &shift);
    double held = std::exp(zone[h] - shift);
    if (std::isinf(held)) {  // the zone outweighs every cluster beyond what a double can say
      std::fill(masses.begin(), masses.end(), 0.0);
      held = 1;
    }
    if (options.gqa != NucleusOptions::Gqa::kGroupSum) {
      const std::span<const double> row(scores ? scores->row(h).data() : nullptr, scores ? k : 0);
      sets.push_back(nuclei(masses, row, held, shares));
      continue;
    }
    const Eigen::Map<const VectorD> m(masses.data(), static_cast<Eigen::Index>(k));
    const double total = m.sum() + held;
    if (total > 0) summed += m / total, summed_zone += held / total;
  }
  if (options.gqa == NucleusOptions::Gqa::kGroupSum) {
    const VectorD ranked = scores ? VectorD(scores->colwise().sum()) : VectorD();
    sets.assign(group.size,
                nuclei({summed.data(), k}, {ranked.data(), static_cast<std::size_t>(ranked.size())},
                       summed_zone, shares));
  }
  if (options.gqa == NucleusOptions::Gqa::kGroupUnion) {
    for (std::size_t i = 0; i < shares.size(); ++i) {
      std::vector<std::int32_t> all;
      for (const Sets& head : sets) unite(all, head[i]);
      for (Sets& head : sets) head[i] = all;
    }
  }
  return sets;
}

}  // namespace doublep
