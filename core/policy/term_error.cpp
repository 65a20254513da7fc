#include "core/policy/term_error.h"

#include <algorithm>
#include <cmath>

#include "core/cache/logits.h"

namespace doublep {
namespace {

// Logits of the zone's tokens, sinks first: [group, zone size].
MatrixD zone_logits(const KvHead& cache, const ExactZone& zone, const QueryGroup& group) {
  MatrixD logits(group.size, zone.size());
  logits.leftCols(zone.sink_end) = exact_logits(group, cache.keys, zone.sink_end);
  logits.rightCols(zone.length - zone.tail_begin) =
      exact_logits(group, cache.key(zone.tail_begin), zone.length - zone.tail_begin);
  return logits;
}

double log_sum(const MatrixD& rows, Eigen::Index row) {
  return log_sum_exp({rows.row(row).data(), static_cast<std::size_t>(rows.cols())});
}

// The zone's part of the output, weights as shares: [group, value_dim].
MatrixD zone_output(const KvHead& cache, const ExactZone& zone, const MatrixD& shares) {
  const ConstMapF sink(cache.values, zone.sink_end, cache.value_dim),
      tail(cache.value(zone.tail_begin), zone.length - zone.tail_begin, cache.value_dim);
  return shares.leftCols(sink.rows()) * sink.cast<double>() +
         shares.rightCols(tail.rows()) * tail.cast<double>();
}

// f of every cluster: [group, clusters].
MatrixD weight_spreads(const ClusterIndex& index, const MatrixD& logit_variances,
                       double (*spread)(double, double)) {
  MatrixD spreads(logit_variances.rows(), logit_variances.cols());
  for (Eigen::Index i = 0; i < spreads.cols(); ++i)
    for (Eigen::Index h = 0; h < spreads.rows(); ++h)
      spreads(h, i) = spread(logit_variances(h, i), static_cast<double>(index.size(i)));
  return spreads;
}

}  // namespace

double weight_spread(double logit_variance, double size) {
  return std::expm1(std::min(logit_variance, 300.0)) / std::max(1.0, size);  // what a double holds
}

double bounded_weight_spread(double logit_variance, double size) {
  return std::min(weight_spread(logit_variance, size), 1 - 1 / std::max(1.0, size));
}

VectorD zone_log_masses(const KvHead& cache, const ExactZone& zone, const QueryGroup& group) {
  const MatrixD logits = zone_logits(cache, zone, group);
  VectorD masses(group.size);
  for (int h = 0; h < group.size; ++h) masses[h] = log_sum(logits, h);
  return masses;
}

TermErrors term_errors(const KvHead& cache, const ExactZone& zone, const QueryGroup& group,
                       const ClusterIndex& index, const MatrixD& log_masses,
                       const MatrixD& logit_variances, bool values) {
  const MatrixD logits = zone_logits(cache, zone, group);
  TermErrors errors;
  errors.shares.resize(group.size, log_masses.cols());
  errors.zone_log_masses.resize(group.size), errors.log_totals.resize(group.size);
  MatrixD zone_shares(logits.rows(), logits.cols());
  for (int h = 0; h < group.size; ++h) {
    errors.zone_log_masses[h] = log_sum(logits, h);
    const double parts[2] = {errors.zone_log_masses[h], log_sum(log_masses, h)};
    const double total = errors.log_totals[h] = log_sum_exp(parts);
    errors.shares.row(h) = (log_masses.row(h).array() - total).exp();
    zone_shares.row(h) = (logits.row(h).array() - total).exp();
  }
  const MatrixD squares = errors.shares.cwiseAbs2();
  errors.weights = squares.cwiseProduct(weight_spreads(index, logit_variances, weight_spread));
  errors.squared =
      squares.cwiseProduct(weight_spreads(index, logit_variances, bounded_weight_spread));
  if (!values) return errors;
  const MatrixD means = index.mean_values().cast<double>();
  const MatrixD output = zone_output(cache, zone, zone_shares) + errors.shares * means;
  const VectorD length = output.rowwise().squaredNorm();
  MatrixD distances = (-2 * output * means.transpose()).colwise() + length;
  distances.rowwise() +=
      (means.rowwise().squaredNorm() + index.value_spreads().cast<double>()).transpose();
  errors.distances = distances.cwiseMax(0);
  for (int h = 0; h < group.size; ++h)
    if (length[h] > 0) errors.distances.row(h) /= length[h];
  errors.squared.array() *= errors.distances.array();
  return errors;
}

}  // namespace doublep
