#include "core/metrics/step_metrics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/expects.h"
#include "core/index/cluster_index.h"
#include "core/selection/top_p.h"

namespace doublep {

StepMetrics measure(const GroundTruth& truth, int head, const Selection& selection,
                    const float* output, double log_sum_exp) {
  const auto weights = truth.weights.row(head);
  StepMetrics m;
  m.visible_tokens = weights.size();
  m.exact_tokens = static_cast<std::int64_t>(selection.tokens.size());
  m.approximated_clusters = static_cast<std::int64_t>(selection.terms.size());
  std::int32_t previous = -1;
  for (std::int32_t token : selection.tokens) {
    DP_EXPECTS(token > previous && token < weights.size(),
               "selected tokens are sorted, unique and visible");
    m.exact_mass += weights[token];
    previous = token;
  }
  m.covered_mass = m.exact_mass;
  for (const ClusterTerm& term : selection.terms) {
    // Members are in ascending order, as tokens are: one that is attended exactly counts once.
    auto exact = selection.tokens.begin();
    for (std::int32_t token : selection.index->members(term.cluster)) {
      exact = std::lower_bound(exact, selection.tokens.end(), token);
      if (exact == selection.tokens.end() || *exact != token) m.covered_mass += weights[token];
    }
  }
  m.exact_mass = std::min(m.exact_mass, 1.0);  // rounding of the sum, when all is attended
  m.covered_mass = std::min(m.covered_mass, 1.0);
  // The same sum in another order: a hair less, so that rounding does not ask for one token more.
  m.oracle_tokens = static_cast<std::int64_t>(
      smallest_set_size(std::vector<double>(weights.data(), weights.data() + weights.size()),
                        m.exact_mass * (1 - 1e-12)));

  const auto expected = truth.outputs.row(head);
  const auto found = ConstRowF(output, expected.size()).cast<double>();
  const double norm = expected.norm(), found_norm = found.norm();
  m.output_error = norm > 0 ? (found - expected).norm() / norm : found_norm;
  m.cosine = norm > 0 && found_norm > 0 ? expected.dot(found) / (norm * found_norm)
                                        : (norm == found_norm ? 1.0 : 0.0);
  m.lse_error = std::abs(log_sum_exp - truth.log_sum_exp[head]);
  return m;
}

}  // namespace doublep
