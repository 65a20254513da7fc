#include "experiments/tune/scores.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "core/base/error.h"

namespace doublep {
namespace {

double value_of(const RowRecord& row, const Target& target) {
  switch (target.metric) {
    case Target::Metric::kOutputError: return row.output_error;
    case Target::Metric::kViolationRate: return row.covered_mass < target.mass ? 1 : 0;
    case Target::Metric::kCoveredMass: return row.covered_mass;
    case Target::Metric::kExactMass: return row.exact_mass;
  }
  return 0;
}

}  // namespace

std::map<int, LayerSample> sample(const StoredRun& run, const Target& target, double holdout,
                                  bool heldout) {
  std::set<int> steps;
  for (const RowRecord& row : run.rows) steps.insert(row.step);
  // The last steps are held out: what comes later is what a choice made now will meet.
  const auto kept = static_cast<std::ptrdiff_t>(
      std::clamp(std::llround((1 - holdout) * static_cast<double>(steps.size())), 1LL,
                 std::max(1LL, static_cast<long long>(steps.size()) - 1)));
  const int first_heldout =
      kept < static_cast<std::ptrdiff_t>(steps.size()) ? *std::next(steps.begin(), kept) : *steps.rbegin();
  std::map<int, LayerSample> layers;
  std::map<int, std::set<int>> layer_steps;
  for (const RowRecord& row : run.rows) {
    if ((row.step >= first_heldout) != heldout) continue;
    LayerSample& layer = layers[row.layer];
    layer.values.push_back(value_of(row, target));
    layer.bytes += std::accumulate(row.bytes, row.bytes + kNumStages, 0.0);
    layer_steps[row.layer].insert(row.step);
  }
  for (auto& [index, layer] : layers) layer.bytes /= static_cast<double>(layer_steps[index].size());
  return layers;
}

double percentile(std::vector<double> values, double p) {
  DP_ASSERT(!values.empty(), "a percentile of nothing");
  std::sort(values.begin(), values.end());
  const double place = p / 100 * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const auto above = std::min(below + 1, values.size() - 1);
  const double share = place - static_cast<double>(below);
  return share == 0 ? values[below] : values[below] * (1 - share) + values[above] * share;
}

Score score(const std::vector<const LayerSample*>& layers, const Target& target) {
  std::vector<double> all;
  Score result;
  for (const LayerSample* layer : layers) {
    all.insert(all.end(), layer->values.begin(), layer->values.end());
    result.bytes += layer->bytes / static_cast<double>(layers.size());
  }
  result.value = target.percentile < 0
                     ? std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size())
                     : percentile(all, target.percentile);
  return result;
}

}  // namespace doublep
