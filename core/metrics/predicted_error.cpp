#include "core/metrics/predicted_error.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/base/matrix.h"
#include "core/index/cluster_index.h"
#include "core/index/mass_estimate.h"
#include "core/policy/term_error.h"

namespace doublep {

double predicted_error(const Selection& selection, const QueryGroup& group, int head,
                       std::int64_t visible, const float* output, int value_dim,
                       double log_sum_exp) {
  std::vector<bool> held(static_cast<std::size_t>(visible), false);
  for (std::int32_t token : selection.tokens) held[token] = true;
  for (const ClusterTerm& term : selection.terms)
    for (std::int32_t token : selection.index->members(term.cluster)) held[token] = true;
  if (std::find(held.begin(), held.end(), false) != held.end() || !selection.log_weights.empty())
    return std::numeric_limits<double>::quiet_NaN();
  if (selection.terms.empty()) return 0;
  const ClusterIndex& index = *selection.index;
  QueryGroup one = group;
  one.queries = group.query(head), one.size = 1;
  const double unit = unit_logit_variances(index, one)[0];
  const auto o = ConstRowF(output, value_dim).cast<double>();
  double squared = 0;
  for (const ClusterTerm& term : selection.terms) {
    const double p = std::exp(term.log_mass - log_sum_exp);
    const double distance =
        (index.mean_values().row(term.cluster).cast<double>() - o).squaredNorm() +
        index.value_spreads()[term.cluster];
    const double spread = std::isnan(term.weight_spread)
                              ? bounded_weight_spread(unit * index.variances()[term.cluster],
                                                      static_cast<double>(index.size(term.cluster)))
                              : term.weight_spread;
    squared += p * p * distance * spread;
  }
  const double length = o.squaredNorm();
  return std::sqrt(length > 0 ? squared / length : squared);
}

}  // namespace doublep
