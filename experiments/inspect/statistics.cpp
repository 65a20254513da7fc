#include "experiments/inspect/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "core/base/parallel.h"
#include "core/cache/logits.h"
#include "core/index/cluster_index.h"
#include "core/index/mass_estimate.h"
#include "core/selection/top_p.h"

namespace doublep {
namespace {

// The numbers that are averaged over steps.
constexpr double HeadStatistics::*kAveraged[] = {
    &HeadStatistics::tokens_80,        &HeadStatistics::tokens_95,   &HeadStatistics::tokens_99,
    &HeadStatistics::sink_mass,        &HeadStatistics::window_mass, &HeadStatistics::max_weight,
    &HeadStatistics::effective_tokens, &HeadStatistics::jensen};

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
  MatrixD weights = exact_logits(group, cache);
  const MatrixD log_masses =
      index ? estimate_log_masses(*index, group, Estimator::kJensen) : MatrixD();
  for (int g = 0; g < group.size; ++g) {
    auto row = weights.row(g).array();
    const double max = row.maxCoeff();
    row = (row - max).exp();
    const double sum = row.sum();
    row /= sum;
    out[g] = statistics_of(row.data(), cache.length, options);
    if (index) out[g].jensen = jensen_ratio(*index, log_masses, g, row.data(), max + std::log(sum));
  }
}

}  // namespace

HeadStatistics statistics_of(const double* weights, std::int64_t n, const InspectOptions& options) {
  HeadStatistics s;
  const std::vector<double> values(weights, weights + n);
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
                                          const InspectOptions& options) {
  const TraceInfo& info = trace.info();
  const TraceLayer data = trace.read_layer(layer);
  const KvCacheView cache = trace.cache(data);
  const auto steps = chosen_steps(info.num_steps(), options.max_steps);
  const auto num_steps = static_cast<std::int64_t>(steps.size());
  const int group_size = info.group_size();

  std::vector<std::optional<ClusterIndex>> indexes(info.num_kv_heads);
  if (options.tokens_per_cluster > 0)
    for (int h = 0; h < info.num_kv_heads; ++h) {  // one at a time: k-means itself is parallel
      ClusteringOptions clustering;
      clustering.tokens_per_cluster = options.tokens_per_cluster;
      const std::int64_t end = info.positions[0] + 1 - options.window;
      if (end > options.sink)
        indexes[h] = ClusterIndex::build(cache.head(h), options.sink, end, clustering);
    }

  std::vector<HeadStatistics> by_step(num_steps * info.num_query_heads);  // [KV head, step, group]
  parallel_for(info.num_kv_heads * num_steps, [&](std::int64_t i) {
    const int kv_head = static_cast<int>(i / num_steps);
    const std::int64_t step = steps[i % num_steps];
    inspect_group(cache.first(info.positions[step] + 1).head(kv_head),
                  trace.queries(data, step).group(kv_head, info.num_kv_heads),
                  indexes[kv_head] ? &*indexes[kv_head] : nullptr, options,
                  by_step.data() + i * group_size);
  });

  std::vector<HeadStatistics> means(info.num_query_heads);
  for (int head = 0; head < info.num_query_heads; ++head) {
    HeadStatistics& mean = means[head];
    mean.layer = layer, mean.head = head, mean.kv_head = head / group_size;
    for (const auto member : kAveraged) {
      mean.*member = 0;
      for (std::int64_t t = 0; t < num_steps; ++t)
        mean.*member +=
            by_step[(mean.kv_head * num_steps + t) * group_size + head % group_size].*member /
            static_cast<double>(num_steps);
    }
  }
  return means;
}

}  // namespace doublep
