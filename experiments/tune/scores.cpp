#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "core/base/quantile.h"
#include "experiments/tune/tuning.h"

namespace doublep {
namespace {

double value_of(const Row& row, const Target& target) {
  switch (target.metric) {
    case Target::Metric::kOutputError:
      return row.output_error;
    case Target::Metric::kViolationRate:
      return row.covered_mass < target.mass ? 1 : 0;
    case Target::Metric::kErrorViolationRate:
      return row.output_error <= target.error ? 0 : 1;
    case Target::Metric::kCoveredMass:
      return row.covered_mass;
    case Target::Metric::kExactMass:
      return row.exact_mass;
  }
  return 0;
}

// Which steps judge. The last ones are what a choice made now will meet; spread over the run they
// tell how well the choice fits this text, without the drift of later text.
std::set<int> held_out_steps(const StoredRun& run, const Holdout& holdout) {
  std::set<int> steps;
  for (const Row& row : run.rows) steps.insert(row.step);
  const auto n = static_cast<long long>(steps.size());
  const auto count =
      std::clamp(std::llround(holdout.share * static_cast<double>(n)), 1LL, std::max(1LL, n - 1));
  std::set<int> out;
  long long i = 0;
  for (int step : steps) {
    const bool last = i >= n - count;
    const bool spread = (i + 1) * count / n > i * count / n;
    if (holdout.spread ? spread : last) out.insert(step);
    ++i;
  }
  return out;
}

}  // namespace

std::map<int, LayerSample> sample(const StoredRun& run, const Target& target,
                                  const Holdout& holdout, bool heldout) {
  const std::set<int> judged = held_out_steps(run, holdout);
  std::map<int, LayerSample> layers;
  std::map<int, std::set<int>> layer_steps;
  for (const Row& row : run.rows) {
    if ((judged.count(row.step) > 0) != heldout) continue;
    LayerSample& layer = layers[row.layer];
    layer.values.push_back(value_of(row, target));
    layer.bytes += std::accumulate(row.bytes, row.bytes + kNumStages, 0.0);
    layer_steps[row.layer].insert(row.step);
  }
  for (auto& [index, layer] : layers) layer.bytes /= static_cast<double>(layer_steps[index].size());
  return layers;
}

double LayerSample::sum() const { return std::accumulate(values.begin(), values.end(), 0.0); }

Score score(const std::vector<const LayerSample*>& layers, const Target& target) {
  std::vector<double> all;
  Score result;
  for (const LayerSample* layer : layers) {
    // Layer by layer, so that the tuner's sums over layers come out the same to the last bit.
    result.value += layer->sum(), result.bytes += layer->bytes;
    all.insert(all.end(), layer->values.begin(), layer->values.end());
  }
  result.bytes /= static_cast<double>(layers.size());
  result.value = target.percentile < 0 ? result.value / static_cast<double>(all.size())
                                       : quantile(std::move(all), target.percentile / 100);
  return result;
}

Beside beside(const Choice& choice, const ResultFile& result, const Holdout& holdout) {
  std::vector<double> errors;
  std::map<std::pair<int, int>, std::vector<double>> by_head;
  Beside found;
  for (std::size_t l = 0; l < choice.layers.size(); ++l) {
    const StoredRun& run = result.runs[choice.runs[l]];
    const std::set<int> judged = held_out_steps(run, holdout);
    for (const Row& row : run.rows) {
      if (row.layer != choice.layers[l] || judged.count(row.step) == 0) continue;
      errors.push_back(row.output_error);
      by_head[{row.layer, row.head}].push_back(row.output_error);
      found.exact_mass += row.exact_mass;
    }
  }
  const auto mean = [](const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  };
  found.exact_mass /= static_cast<double>(errors.size());
  found.error = mean(errors);
  for (const auto& [head, values] : by_head)  // what is no number is the worst
    if (const double error = mean(values); !(error <= found.error_worst_head))
      found.error_worst_head = error;
  found.error_p95 = quantile(std::move(errors), 0.95);
  return found;
}

}  // namespace doublep
