#include "experiments/inspect/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <span>

#include "core/base/parallel.h"
#include "core/cache/logits.h"
#include "core/index/cluster_index.h"
#include "core/index/mass_estimate.h"
#include "core/selection/top_p.h"
#include "experiments/inspect/head_kinds.h"

namespace doublep {
namespace {

// The numbers that are averaged over steps.
constexpr double HeadStatistics::*kAveraged[] = {&HeadStatistics::tokens_80,
                                                 &HeadStatistics::tokens_95,
                                                 &HeadStatistics::tokens_99,
                                                 &HeadStatistics::sink_mass,
                                                 &HeadStatistics::window_mass,
                                                 &HeadStatistics::max_weight,
                                                 &HeadStatistics::effective_tokens,
                                                 &HeadStatistics::jensen,
                                                 &HeadStatistics::logit_variance,
                                                 &HeadStatistics::log_error_jensen,
                                                 &HeadStatistics::log_error_second_order,
                                                 &HeadStatistics::log_error_pooled};

std::vector<std::int64_t> chosen_steps(std::int64_t steps, std::int64_t most) {
  const std::int64_t n = most > 0 ? std::min(most, steps) : steps;
  std::vector<std::int64_t> chosen(n);
  for (std::int64_t i = 0; i < n; ++i) chosen[i] = n > 1 ? i * (steps - 1) / (n - 1) : steps - 1;
  return chosen;
}

// Estimated over true mass of the clustered tokens, one query.
double jensen_ratio(const ClusterIndex& index, const MatrixD& log_masses, int head,
                    const double* weights, double log_sum_exp) {
  double estimated = 0, true_mass = 0;
  for (std::int64_t i = 0; i < index.num_clusters(); ++i)
    estimated += std::exp(log_masses(head, i) - log_sum_exp);
  for (std::int64_t j = index.begin(); j < index.end(); ++j) true_mass += weights[j];
  return true_mass > 0 ? estimated / true_mass : 1;
}

// The group of one KV head in one step; `out` has one entry per query head.
void inspect_group(const KvHead& cache, const QueryGroup& group, const ClusterIndex* index,
                   const InspectOptions& options, HeadStatistics* out) {
  const MatrixD logits = exact_logits(group, cache);
  std::array<MatrixD, kEstimators.size()> log_masses;
  for (std::size_t e = 0; index && e < (options.heads ? kEstimators.size() : 1); ++e)
    log_masses[e] = estimate_log_masses(*index, group, kEstimators[e]);
  VectorD weights(cache.length);
  for (int g = 0; g < group.size; ++g) {
    const auto row = logits.row(g).array();
    const double max = row.maxCoeff();
    weights = (row - max).exp().matrix().transpose();
    const double sum = weights.sum();
    weights /= sum;
    const double log_sum_exp = max + std::log(sum);
    out[g] = statistics_of(weights.data(), cache.length, options);
    if (!index) continue;
    out[g].jensen = jensen_ratio(*index, log_masses[0], g, weights.data(), log_sum_exp);
    if (!options.heads) continue;
    LogMasses mine;
    for (std::size_t e = 0; e < mine.size(); ++e) mine[e] = log_masses[e].row(g).data();
    judge_estimates(*index, {logits.row(g).data(), weights.data(), log_sum_exp}, mine, out[g]);
  }
}

std::optional<ClusterIndex> cluster(const KvHead& keys, std::int64_t prompt,
                                    const InspectOptions& options) {
  const std::int64_t end = prompt - options.window;
  if (options.tokens_per_cluster == 0 || end <= options.sink) return {};
  ClusteringOptions clustering;
  clustering.tokens_per_cluster = options.tokens_per_cluster;
  clustering.moments.key_shape = options.heads;
  return ClusterIndex::build(keys, options.sink, end, clustering);
}

}  // namespace

HeadStatistics statistics_of(const double* weights, std::int64_t n, const InspectOptions& options) {
  HeadStatistics s;
  const std::span<const double> values(weights, static_cast<std::size_t>(n));
  s.tokens_80 = static_cast<double>(smallest_set_size(values, 0.80));
  s.tokens_95 = static_cast<double>(smallest_set_size(values, 0.95));
  s.tokens_99 = static_cast<double>(smallest_set_size(values, 0.99));
  const std::int64_t sink_end = std::min(options.sink, n);
  for (std::int64_t j = 0; j < sink_end; ++j) s.sink_mass += weights[j];
  for (std::int64_t j = std::max(sink_end, n - options.window); j < n; ++j)
    s.window_mass += weights[j];
  double entropy = 0;
  for (double w : values)
    if (w > 0) entropy -= w * std::log(w);
  s.max_weight = *std::max_element(values.begin(), values.end());
  s.effective_tokens = std::exp(entropy);
  s.jensen = std::numeric_limits<double>::quiet_NaN();
  return s;
}

std::vector<HeadStatistics> inspect_layer(const Trace& trace, int layer,
                                          const InspectOptions& options,
                                          const std::function<void(double)>& progress) {
  const TraceInfo& info = trace.info();
  const TraceLayer data = trace.read_layer(layer);
  const KvCacheView cache = trace.cache(data);
  const auto steps = chosen_steps(info.num_steps(), options.max_steps);
  const auto num_steps = static_cast<std::int64_t>(steps.size());
  const int group_size = info.group_size();

  std::vector<HeadStatistics> means(info.num_query_heads);
  for (int kv_head = 0; kv_head < info.num_kv_heads; ++kv_head) {  // k-means itself is parallel
    const auto index = cluster(cache.head(kv_head), info.positions[0] + 1, options);
    std::vector<HeadStatistics> by_step(num_steps * group_size);
    parallel_for(num_steps, [&](std::int64_t t) {
      inspect_group(cache.first(info.positions[steps[t]] + 1).head(kv_head),
                    trace.queries(data, steps[t]).group(kv_head, info.num_kv_heads),
                    index ? &*index : nullptr, options, by_step.data() + t * group_size);
    });
    const auto keys = index && options.heads ? std::optional(key_scatter(*index)) : std::nullopt;
    std::vector<std::string_view> kinds;
    if (options.heads && index)
      kinds = policy_kinds(cache.first(info.positions[0] + 1).head(kv_head),
                           trace.queries(data, 0).group(kv_head, info.num_kv_heads),
                           info.positions[0] + 1, {layer, kv_head});
    for (int g = 0; g < group_size; ++g) {
      const int head = kv_head * group_size + g;
      HeadStatistics& mean = means[head];
      mean.layer = layer, mean.head = head, mean.kv_head = kv_head;
      if (!kinds.empty()) mean.kind = kinds[g];
      for (const auto member : kAveraged) {
        mean.*member = 0;
        for (std::int64_t t = 0; t < num_steps; ++t)
          mean.*member += by_step[t * group_size + g].*member / static_cast<double>(num_steps);
      }
      if (options.heads)
        describe_head(query_moments(trace, data, head), keys ? &*keys : nullptr, mean);
    }
    progress((kv_head + 1.0) / info.num_kv_heads);
  }
  return means;
}

}  // namespace doublep
