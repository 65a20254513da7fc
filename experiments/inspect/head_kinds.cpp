#include "experiments/inspect/head_kinds.h"

#include <algorithm>
#include <cmath>

#include "core/index/query_metric.h"
#include "core/policy/registry.h"

namespace doublep {

QueryMoments query_moments(const Trace& trace, const TraceLayer& layer, int head) {
  const TraceInfo& info = trace.info();
  const std::int64_t steps = info.num_steps();
  QueryMoments moments;
  QueryHistory decoded(steps);
  for (std::int64_t t = 0; t < steps; ++t)  // a group of one head
    decoded.add(trace.queries(layer, t).group(head, info.num_query_heads));
  const PrefillQueries recorded =
      trace.cache(layer).prefill_queries.group(head, info.num_query_heads);
  if (recorded.count > 0) {
    QueryHistory prompt(MetricOptions{}.queries);
    prompt.add(recorded);
    moments.prompt_positions = prompt.positions();
    moments.before = query_moment(prompt, 0, prompt.positions());
    moments.during = query_moment(decoded, 0, steps);
  } else {
    const std::int64_t half = std::max<std::int64_t>(1, steps / 2);
    moments.before = query_moment(decoded, 0, half);
    if (half < steps) moments.during = query_moment(decoded, half, steps);
  }
  return moments;
}

double metric_drift(const MatrixD& a, const MatrixD& b) {
  const MatrixD x = a / a.trace(), y = b / b.trace();
  return std::sqrt((x - y).squaredNorm() / (x.squaredNorm() + y.squaredNorm()));
}

KeyScatter key_scatter(const ClusterIndex& index) {
  const Eigen::Index d = index.centroids().cols();
  double spread = 0, tokens = 0;
  Eigen::RowVectorXd mean = Eigen::RowVectorXd::Zero(d);
  for (std::int64_t i = 0; i < index.num_clusters(); ++i) {
    const auto size = static_cast<double>(index.size(i));
    spread += size * static_cast<double>(index.variances()[i]);
    mean += size * index.centroids().row(i).cast<double>();
    tokens += size;
  }
  mean /= tokens;
  // The shape is the pooled covariance over its mean variance.
  KeyScatter scatter;
  scatter.within = index.key_shape().cast<double>() * spread;
  scatter.total = scatter.within;
  for (std::int64_t i = 0; i < index.num_clusters(); ++i) {
    const Eigen::RowVectorXd offset = index.centroids().row(i).cast<double>() - mean;
    scatter.total.noalias() += static_cast<double>(index.size(i)) * offset.transpose() * offset;
  }
  return scatter;
}

double share_within(const KeyScatter& scatter, const MatrixD& moment) {
  // Both are symmetric: the trace of the product is the sum over elements.
  return moment.cwiseProduct(scatter.within).sum() / moment.cwiseProduct(scatter.total).sum();
}

void describe_head(const QueryMoments& queries, const KeyScatter* keys, HeadStatistics& out) {
  const Eigen::Index d = queries.before.rows();
  out.prompt_positions = queries.prompt_positions;
  out.query_rank = effective_rank(queries.before);
  if (queries.during.rows() > 0) out.drift = metric_drift(queries.before, queries.during);
  if (!keys) return;
  out.key_rank = effective_rank(keys->within) / static_cast<double>(d);
  out.key_within = share_within(*keys, MatrixD::Identity(d, d));
  out.query_within = share_within(*keys, queries.before);
}

void judge_estimates(const ClusterIndex& index, const StepWeights& truth,
                     const LogMasses& estimates, HeadStatistics& out) {
  double all = 0, variance = 0;
  std::array<double, kEstimators.size()> errors{};
  for (std::int64_t i = 0; i < index.num_clusters(); ++i) {
    const auto members = index.members(i);
    double mass = 0, sum = 0, squares = 0;
    for (std::int32_t j : members) mass += truth.weights[j];
    if (mass == 0) continue;  // no members, or too light to tell from none
    const auto size = static_cast<double>(members.size());
    for (std::int32_t j : members) sum += truth.logits[j];
    for (std::int32_t j : members) squares += std::pow(truth.logits[j] - sum / size, 2);
    all += mass;
    variance += mass * squares / size;
    for (std::size_t e = 0; e < errors.size(); ++e)
      errors[e] += mass * std::abs(estimates[e][i] - truth.log_sum_exp - std::log(mass));
  }
  // A step whose clusters hold nothing has nothing to estimate.
  out.logit_variance = all > 0 ? variance / all : 0;
  for (std::size_t e = 0; e < errors.size(); ++e)
    out.*kLogErrors[e] = all > 0 ? errors[e] / all : 0;
}

std::vector<std::string_view> policy_kinds(const KvHead& cache, const QueryGroup& group,
                                           std::int64_t prompt, const PolicyContext& context) {
  if (cache.prefill_queries.count == 0) return {};
  const PolicyInfo& info = PolicyRegistry::instance().find("double_p");
  const auto policy = info.create(resolve(info, {{"variant", std::string("best")},
                                                 {"head_kinds", std::string("auto")},
                                                 {"gqa", std::string("per_head")}}),
                                  context);
  KvHead seen = cache;
  seen.length = prompt;
  policy->prefill(seen);
  policy->append(cache);
  GroupSelection out(group.size);
  policy->select(cache, group, out);
  return policy->head_kinds();
}

std::string best_estimator(const HeadStatistics& head) {
  double lowest = head.*kLogErrors[0];
  for (const auto error : kLogErrors) lowest = std::min(lowest, head.*error);
  for (std::size_t e = 0; e < kEstimators.size(); ++e)
    if (head.*kLogErrors[e] <= 1.01 * lowest + 1e-4) return kEstimatorNames[e];
  return "";
}

}  // namespace doublep
