#include "core/policy/prefix_error.h"

#include <cmath>
#include <numeric>
#include <span>

#include "core/attention/attend.h"
#include "core/cache/logits.h"

namespace doublep {
namespace {

// What tokens or terms add to the heads' numerators and denominators.
struct Sums {
  MatrixD numerators;  // [heads, value_dim]
  VectorD denominators;

  void operator+=(const Sums& other) {
    numerators += other.numerators, denominators += other.denominators;
  }
  void operator-=(const Sums& other) {
    numerators -= other.numerators, denominators -= other.denominators;
  }
};

// `weights`: of all tokens, [heads, length].
Sums token_sums(const KvHead& cache, const MatrixD& weights, std::span<const std::int32_t> tokens) {
  const auto n = static_cast<Eigen::Index>(tokens.size());
  MatrixD mine(weights.rows(), n), values(n, cache.value_dim);
  for (Eigen::Index j = 0; j < n; ++j) {
    mine.col(j) = weights.col(tokens[j]);
    values.row(j) = ConstRowF(cache.value(tokens[j]), cache.value_dim).cast<double>();
  }
  return {mine * values, mine.rowwise().sum()};
}

// The term at one place of every head's list.
Sums term_sums(std::span<const Selection> heads, std::size_t place, const VectorD& log_scales) {
  const ClusterIndex& index = *heads[0].index;
  const auto rows = static_cast<Eigen::Index>(heads.size());
  Sums sums{MatrixD(rows, index.mean_values().cols()), VectorD(rows)};
  for (Eigen::Index h = 0; h < rows; ++h) {
    const Selection& head = heads[h];
    const ClusterTerm& term = head.terms[place];
    sums.denominators[h] = std::exp(term.log_mass - log_scales[h]);
    sums.numerators.row(h) = index.mean_values().row(term.cluster).cast<double>();
    if (!head.shift.empty())
      sums.numerators.row(h) +=
          term.value_shift * ConstRowF(head.shift.data(), sums.numerators.cols()).cast<double>();
    sums.numerators.row(h) *= sums.denominators[h];
  }
  return sums;
}

std::vector<float> dense_output(const KvHead& cache, const QueryGroup& group) {
  std::vector<Selection> all(group.size);
  for (Selection& head : all) {
    head.tokens.resize(cache.length);
    std::iota(head.tokens.begin(), head.tokens.end(), 0);
  }
  std::vector<float> output(static_cast<std::size_t>(group.size) * cache.value_dim);
  std::vector<double> log_sums(group.size);
  attend(cache, group, all, output.data(), log_sums.data());
  return output;
}

}  // namespace

MatrixD prefix_errors(const KvHead& cache, const ExactZone& zone, const QueryGroup& group,
                      const GroupSelection& terms, const std::vector<RefinementOrder>& orders) {
  const ClusterIndex& index = *terms.heads[0].index;
  const std::vector<ClusterTerm>& list = terms.heads[0].terms;  // the clusters of every head
  std::vector<std::size_t> places(index.num_clusters());
  for (std::size_t i = 0; i < list.size(); ++i) places[list[i].cluster] = i;
  std::vector<std::int32_t> exact;
  zone.for_each([&](std::int32_t j) { exact.push_back(j); });
  const std::vector<float> dense = dense_output(cache, group);
  const MatrixD truth = ConstMapF(dense.data(), group.size, cache.value_dim).cast<double>();
  const MatrixD logits = exact_logits(group, cache);
  const Eigen::Index rows = group.size / static_cast<Eigen::Index>(orders.size());
  MatrixD errors(group.size, static_cast<Eigen::Index>(list.size()) + 1);
  for (Eigen::Index first = 0; first < group.size; first += rows) {
    const std::span heads(terms.heads.data() + first, static_cast<std::size_t>(rows));
    VectorD scales = logits.middleRows(first, rows).rowwise().maxCoeff();
    for (Eigen::Index h = 0; h < rows; ++h)
      for (const ClusterTerm& term : heads[h].terms) scales[h] = std::max(scales[h], term.log_mass);
    const MatrixD weights = (logits.middleRows(first, rows).colwise() - scales).array().exp();
    Sums sums = token_sums(cache, weights, exact);
    for (std::size_t i = 0; i < list.size(); ++i) sums += term_sums(heads, i, scales);
    const auto note = [&](Eigen::Index n) {
      for (Eigen::Index h = 0; h < rows; ++h) {
        const double length = truth.row(first + h).norm();
        const double distance =
            (sums.numerators.row(h) / sums.denominators[h] - truth.row(first + h)).norm();
        errors(first + h, n) = length > 0 ? distance / length : distance;
      }
    };
    note(0);
    Eigen::Index n = 0;
    for (std::int32_t c : orders[first / rows].clusters) {
      sums += token_sums(cache, weights, index.members(c));
      sums -= term_sums(heads, places[c], scales);
      note(++n);
    }
  }
  return errors;
}

MatrixD prefix_predictions(const MatrixD& squared, const std::vector<RefinementOrder>& orders) {
  const Eigen::Index rows = squared.rows() / static_cast<Eigen::Index>(orders.size());
  const auto k = static_cast<Eigen::Index>(orders[0].clusters.size());
  MatrixD left = MatrixD::Zero(squared.rows(), k + 1);
  for (Eigen::Index h = 0; h < squared.rows(); ++h)
    for (Eigen::Index n = k; n-- > 0;)  // backwards: a sum of small numbers first
      left(h, n) = left(h, n + 1) + squared(h, orders[h / rows].clusters[n]);
  return left.cwiseSqrt();
}

}  // namespace doublep
