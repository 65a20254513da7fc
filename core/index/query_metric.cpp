#include "core/index/query_metric.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/base/symmetric_eigen.h"

namespace doublep {

ParamSpecs metric_params() {
  return {
      choice("metric", "euclidean", {"euclidean", "query", "auto"},
             "distance that keys are clustered by: Euclid's, that of the queries seen last, or "
             "the latter as far as these queries can be trusted"),
      real("rho", 0.3, "how much of Euclid's metric the query metric keeps", 0, 1e6),
      integer("metric_queries", 64, "positions whose queries make the metric, the last ones", 1,
              1000000),
      choice("metric_source", "prompt", {"prompt", "steps"},
             "queries of the prompt's end, or of the first steps, after which the index is built "
             "anew; re-clustering takes the last ones of both"),
  };
}

MetricOptions metric_options(const Parameters& p) {
  MetricOptions options;
  const auto& kind = p.choice("metric");
  options.kind = kind == "query"  ? MetricOptions::Kind::kQuery
                 : kind == "auto" ? MetricOptions::Kind::kAuto
                                  : MetricOptions::Kind::kEuclidean;
  options.rho = p.real("rho");
  options.queries = p.integer("metric_queries");
  options.source = p.choice("metric_source") == "steps" ? MetricOptions::Source::kSteps
                                                        : MetricOptions::Source::kPrompt;
  return options;
}

void QueryHistory::add(const PrefillQueries& prompt) {
  MatrixF rows(prompt.heads, prompt.head_dim);
  for (std::int64_t i = std::max<std::int64_t>(0, prompt.count - capacity_); i < prompt.count; ++i)
    add(prompt.query(i, 0), prompt.heads, prompt.head_dim);
}

void QueryHistory::add(const QueryGroup& step) { add(step.queries, step.size, step.head_dim); }

void QueryHistory::add(const float* queries, int heads, int head_dim) {
  if (positions() == capacity_) rows_.erase(rows_.begin());
  rows_.emplace_back(ConstMapF(queries, heads, head_dim));
}

MatrixD query_moment(const QueryHistory& history, std::int64_t begin, std::int64_t end) {
  const Eigen::Index d = history.at(begin).cols();
  MatrixD moment = MatrixD::Zero(d, d);
  for (std::int64_t i = begin; i < end; ++i) {
    const MatrixD rows = history.at(i).cast<double>();
    moment.noalias() += rows.transpose() * rows;
  }
  const double trace = moment.trace();
  return trace > 0 ? MatrixD(moment * (static_cast<double>(d) / trace)) : MatrixD::Identity(d, d);
}

MatrixD metric_root(const MatrixD& moment, double rho) {
  const SymmetricEigen eigen = symmetric_eigen(moment);
  const VectorD roots = (eigen.values.cwiseMax(0).array() + rho).sqrt();
  return eigen.vectors * roots.asDiagonal() * eigen.vectors.transpose();
}

double effective_rank(const MatrixD& moment) {
  return moment.trace() * moment.trace() / moment.squaredNorm();
}

double cross_validated_rho(const QueryHistory& history) {
  constexpr std::array kGrid = {0.03, 0.1, 0.3, 1.0, 3.0, 10.0};
  constexpr std::int64_t kFolds = 4;
  constexpr double kEuclidean = std::numeric_limits<double>::infinity();
  const std::int64_t n = history.positions();
  if (n < kFewestPositions) return kEuclidean;
  const double d = static_cast<double>(history.at(0).cols());
  std::array<double, kGrid.size()> losses{};  // -2 log likelihood of the held-out queries, a query
  for (std::int64_t fold = 0; fold < kFolds; ++fold) {
    const std::int64_t begin = fold * n / kFolds, end = (fold + 1) * n / kFolds;
    MatrixD seen = MatrixD::Zero(static_cast<Eigen::Index>(d), static_cast<Eigen::Index>(d));
    if (begin > 0) seen += query_moment(history, 0, begin) * static_cast<double>(begin);
    if (end < n) seen += query_moment(history, end, n) * static_cast<double>(n - end);
    const SymmetricEigen eigen = symmetric_eigen(seen / static_cast<double>(n - end + begin));
    const MatrixD held = query_moment(history, begin, end);
    const VectorD found = (eigen.vectors.transpose() * held * eigen.vectors).diagonal();
    for (std::size_t i = 0; i < kGrid.size(); ++i) {
      // Of trace d, as what is held out.
      const VectorD variances = (eigen.values.cwiseMax(0).array() + kGrid[i]) / (1 + kGrid[i]);
      losses[i] += variances.array().log().sum() + found.cwiseQuotient(variances).sum();
    }
  }
  const auto best = std::min_element(losses.begin(), losses.end());
  // All variances 1, by dimension and fold.
  const double gain = 1 - *best / (static_cast<double>(kFolds) * d);
  // What few positions in a row foretell of each other, they need not foretell of later ones.
  const double wanted = std::max(0.5, 16.0 / static_cast<double>(n));
  return gain >= wanted ? kGrid[static_cast<std::size_t>(best - losses.begin())] : kEuclidean;
}

void MetricLearner::prefill(const KvHead& cache) {
  if (options_.kind == MetricOptions::Kind::kEuclidean || !from_prompt()) return;
  if (options_.kind == MetricOptions::Kind::kQuery && cache.prefill_queries.count == 0)
    fail_input(
        "metric: query needs the prompt's last queries, and the trace holds no prefill_queries; "
        "record them, or set metric_source to steps, or metric to auto");
  history_.add(cache.prefill_queries);
}

void MetricLearner::observe(const QueryGroup& queries) {
  if (options_.kind == MetricOptions::Kind::kEuclidean) return;
  history_.add(queries);
  ++observed_;
}

bool MetricLearner::steps_seen() {
  if (options_.kind == MetricOptions::Kind::kEuclidean || from_prompt() || waited_) return false;
  return waited_ = observed_ >= options_.queries;
}

std::shared_ptr<const MatrixD> MetricLearner::warp() const {
  if (options_.kind == MetricOptions::Kind::kEuclidean || history_.positions() == 0) return nullptr;
  const double rho =
      options_.kind == MetricOptions::Kind::kAuto ? cross_validated_rho(history_) : options_.rho;
  if (std::isinf(rho)) return nullptr;
  return std::make_shared<const MatrixD>(
      metric_root(query_moment(history_, 0, history_.positions()), rho));
}

}  // namespace doublep
