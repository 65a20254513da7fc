#include "experiments/shards/shard.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/index/segments.h"
#include "experiments/shards/deal.h"

namespace doublep {
namespace {

// Nanoseconds of one core at head_dim 128, from sweeps of every policy over recorded traces of 4096
// to 16384 tokens: of a query head's step, by key that it sees, and of a KV head's index, by key.
constexpr double kTruth = 90, kMetrics = 30, kDense = 35, kHeadDim = 128;
constexpr double kDistance = 3;  // k-means: of a key to a centroid, once

struct Rates {
  double step, build;
};

Rates rates_of(SearchKind kind) {
  switch (kind) {
    case SearchKind::kNone:
      return {3, 0};
    case SearchKind::kPages:
      return {100, 100};
    case SearchKind::kClusters:
      return {20, 0};  // and its k-means
    case SearchKind::kTokens:
      return {100, 1000};
    case SearchKind::kCodes:
      return {70, 25000};
  }
  return {};
}

// Centroids that k-means holds each key against, times passes.
double distances(const Parameters& parameters, double tokens) {
  const auto number = [&](const char* name) {
    return parameters.has(name) ? static_cast<double>(parameters.integer(name)) : 0.0;
  };
  const double fixed = number("clusters");
  const auto segment = segment_length(static_cast<std::int64_t>(tokens),
                                      static_cast<std::int64_t>(number("segment")));
  const double at_once = std::min(static_cast<double>(segment), tokens);
  const double centroids =
      fixed > 0 ? fixed * at_once / tokens : at_once / std::max(1.0, number("tokens_per_cluster"));
  return centroids * (number("iterations") + 1);
}

double layers_of(const TraceInfo& info, const ReplayOptions& replay) {
  return static_cast<double>(replay.layers.empty() ? info.layers.size() : replay.layers.size());
}

// Keys that the measured steps of a layer's query heads see.
double keys_seen(const TraceInfo& info, const ReplayOptions& replay) {
  const std::int64_t all = info.num_steps();
  const std::int64_t steps = replay.max_steps > 0 ? std::min(replay.max_steps, all) : all;
  const std::int64_t measured = (steps + replay.every_step - 1) / replay.every_step;
  return static_cast<double>(measured) * static_cast<double>(info.num_tokens) *
         info.num_query_heads;
}

double layer_cost(const PolicyInfo& policy, const Parameters& parameters, const TraceInfo& info,
                  double seen) {
  const double tokens = static_cast<double>(info.num_tokens);
  Rates rates = rates_of(policy.traits.search);
  if (policy.traits.dense) rates.step = kDense;
  if (policy.traits.search == SearchKind::kClusters)
    rates.build = kDistance * distances(parameters, tokens);
  return (kMetrics + rates.step) * seen + rates.build * tokens * info.num_kv_heads;
}

}  // namespace

std::string Shard::text() const { return concat(index, "/", count); }

Shard parse_shard(const std::string& text) {
  const auto slash = text.find('/');
  const auto index = parse_integer(text.substr(0, slash));
  const auto count =
      slash == std::string::npos ? std::nullopt : parse_integer(text.substr(slash + 1));
  if (!index || !count || *index < 1 || *index > *count || *count > std::numeric_limits<int>::max())
    fail_input("--shard ", text, ": expected i/n with i from 1 to n, such as 2/4");
  return {static_cast<int>(*index), static_cast<int>(*count)};
}

std::string shard_path(const std::string& output, const Shard& shard) {
  return concat(output, ".shards/", shard.index, "-of-", shard.count, ".h5");
}

double predicted_cost(const RunSpec& run, const TraceInfo& info, const ReplayOptions& replay) {
  const PolicyInfo& policy = PolicyRegistry::instance().find(run.policy);
  const double layers = layers_of(info, replay), seen = keys_seen(info, replay);
  double cost = 0;
  if (run.by_layer.empty()) cost = layers * layer_cost(policy, run.parameters, info, seen);
  for (const int layer : replay.layers.empty() ? info.layers : replay.layers)
    if (!run.by_layer.empty()) cost += layer_cost(policy, run.of_layer(layer), info, seen);
  return cost * info.head_dim / kHeadDim;
}

double predicted_truth(const TraceInfo& info, const ReplayOptions& replay) {
  return kTruth * layers_of(info, replay) * keys_seen(info, replay) * info.head_dim / kHeadDim;
}

std::vector<std::size_t> runs_of(const std::optional<Shard>& shard, const Sweep& sweep,
                                 const std::vector<Trace>& traces) {
  const std::size_t total = sweep.traces.size() * sweep.runs.size();
  if (!shard) {
    std::vector<std::size_t> all(total);
    std::iota(all.begin(), all.end(), std::size_t{0});
    return all;
  }
  if (static_cast<std::size_t>(shard->count) > total)
    fail_input(sweep.path, ": comes to ", total, " runs, fewer than ", shard->count,
               " shards; ask for ", total, " or fewer");
  std::vector<std::vector<double>> costs;
  std::vector<double> shared;
  for (const Trace& trace : traces) {
    auto& each = costs.emplace_back();
    for (const RunSpec& run : sweep.runs)
      each.push_back(predicted_cost(run, trace.info(), sweep.replay));
    shared.push_back(predicted_truth(trace.info(), sweep.replay));
  }
  const std::vector<int> dealt = deal(costs, shared, shard->count);
  std::vector<std::size_t> mine;
  for (std::size_t place = 0; place < total; ++place)
    if (dealt[place] + 1 == shard->index) mine.push_back(place);
  return mine;
}

}  // namespace doublep
