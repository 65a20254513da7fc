#include "core/metrics/step_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/base/error.h"
#include "core/base/matrix.h"
#include "core/cache/logits.h"
#include "core/index/cluster_index.h"
#include "core/index/mass_estimate.h"
#include "core/policy/term_error.h"
#include "core/selection/top_p.h"

namespace doublep {

GroundTruth GroundTruth::of(const KvHead& cache, const QueryGroup& group) {
  GroundTruth truth;
  truth.weights = exact_logits(group, cache);
  truth.log_sum_exp.resize(group.size);
  for (int h = 0; h < group.size; ++h) {
    auto row = truth.weights.row(h).array();
    const double max = row.maxCoeff();
    row = (row - max).exp();
    const double sum = row.sum();
    row /= sum;
    truth.log_sum_exp[h] = max + std::log(sum);
  }
  truth.outputs = MatrixD::Zero(group.size, cache.value_dim);
  constexpr std::int64_t kBlock = 256;
  for (std::int64_t begin = 0; begin < cache.length; begin += kBlock) {
    const std::int64_t n = std::min(kBlock, cache.length - begin);
    const MatrixD values = ConstMapF(cache.value(begin), n, cache.value_dim).cast<double>();
    truth.outputs.noalias() += truth.weights.middleCols(begin, n) * values;
  }
  return truth;
}

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
  m.oracle_tokens = static_cast<std::int64_t>(smallest_set_size(
      {weights.data(), static_cast<std::size_t>(weights.size())}, m.exact_mass * (1 - 1e-12)));

  const auto expected = truth.outputs.row(head);
  const auto found = ConstRowF(output, expected.size()).cast<double>();
  const double norm = expected.norm(), found_norm = found.norm();
  m.output_error = norm > 0 ? (found - expected).norm() / norm : found_norm;
  m.cosine = norm > 0 && found_norm > 0 ? expected.dot(found) / (norm * found_norm)
                                        : (norm == found_norm ? 1.0 : 0.0);
  m.lse_error = std::abs(log_sum_exp - truth.log_sum_exp[head]);
  return m;
}

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
