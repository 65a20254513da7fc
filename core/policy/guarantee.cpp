#include "core/policy/guarantee.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/cost/stages.h"
#include "core/selection/top_k.h"
#include "core/selection/top_p.h"

namespace doublep {
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
