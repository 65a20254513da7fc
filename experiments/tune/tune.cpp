#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "experiments/tune/scores.h"
#include "experiments/tune/tuning.h"

namespace doublep {
namespace {

struct Candidate {
  std::size_t run;
  std::map<int, LayerSample> tuning, heldout;
};

// Smaller is better, whichever way the metric points.
double cost_of(double value, const Target& target) { return target.at_most() ? value : -value; }

Score whole(const Candidate& c, const Target& target, bool heldout) {
  std::vector<const LayerSample*> layers;
  for (const auto& [index, layer] : heldout ? c.heldout : c.tuning) layers.push_back(&layer);
  return score(layers, target);
}

Score mixed(const std::vector<const Candidate*>& per_layer, const std::vector<int>& layers,
            const Target& target, bool heldout) {
  std::vector<const LayerSample*> samples;
  for (std::size_t l = 0; l < layers.size(); ++l)
    samples.push_back(&(heldout ? per_layer[l]->heldout : per_layer[l]->tuning).at(layers[l]));
  return score(samples, target);
}

// Layer by layer along the lower hull of (bytes, value): each round takes the move with the largest
// gain per byte, until the target is met. For a mean over layers this is the continuous knapsack's
// optimum up to the last move; a percentile over all rows is simply evaluated after each move.
std::optional<Choice> choose_per_layer(const std::vector<Candidate>& candidates,
                                       const std::vector<int>& layers, const Target& target) {
  std::vector<const Candidate*> current(layers.size());
  for (std::size_t l = 0; l < layers.size(); ++l)
    current[l] = &*std::min_element(candidates.begin(), candidates.end(), [&](auto& a, auto& b) {
      return a.tuning.at(layers[l]).bytes < b.tuning.at(layers[l]).bytes;
    });
  while (!target.met(mixed(current, layers, target, false).value)) {
    double best_gain = 0;
    std::size_t best_layer = 0;
    const Candidate* best = nullptr;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const LayerSample& now = current[l]->tuning.at(layers[l]);
      const double now_cost = cost_of(score({&now}, target).value, target);
      for (const Candidate& c : candidates) {
        const LayerSample& next = c.tuning.at(layers[l]);
        const double gain = now_cost - cost_of(score({&next}, target).value, target);
        const double bytes = next.bytes - now.bytes;
        if (gain <= 0 || bytes <= 0) continue;
        if (gain / bytes > best_gain) best_gain = gain / bytes, best_layer = l, best = &c;
      }
    }
    if (!best) return std::nullopt;
    current[best_layer] = best;
  }
  Choice choice;
  choice.layers = layers;
  for (const Candidate* c : current) choice.runs.push_back(c->run);
  choice.tuning = mixed(current, layers, target, false);
  choice.heldout = mixed(current, layers, target, true);
  return choice;
}

void find_front(const std::vector<Candidate>& candidates, const Target& target, PolicyTuning& out) {
  std::vector<std::pair<Score, std::size_t>> all;
  for (const Candidate& c : candidates) all.emplace_back(whole(c, target, true), c.run);
  std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) {
    return a.first.bytes != b.first.bytes
               ? a.first.bytes < b.first.bytes
               : cost_of(a.first.value, target) < cost_of(b.first.value, target);
  });
  double best = INFINITY;
  for (const auto& [s, run] : all)
    if (cost_of(s.value, target) < best) {
      best = cost_of(s.value, target);
      out.front.push_back(run), out.front_scores.push_back(s);
    }
}

PolicyTuning tune_policy(const std::vector<Candidate>& candidates, const Tuning& tuning) {
  PolicyTuning out;
  out.candidates = candidates.size();
  Target tight = tuning.target;  // chosen against the bound with its safety, judged without
  tight.bound = tight.at_most() ? tight.bound * (1 - tuning.safety)
                                : tight.bound + (1 - tight.bound) * tuning.safety;
  std::vector<int> layers;
  for (const auto& [index, layer] : candidates[0].tuning) layers.push_back(index);
  double closest = INFINITY;
  for (const Candidate& c : candidates) {
    const Score s = whole(c, tight, false);
    closest = std::min(closest, cost_of(s.value, tight));
    if (!tight.met(s.value) || (out.uniform && out.uniform->tuning.bytes <= s.bytes)) continue;
    out.uniform =
        Choice{layers, std::vector<std::size_t>(layers.size(), c.run), s, whole(c, tight, true)};
  }
  out.closest = tight.at_most() ? closest : -closest;
  if (tuning.per_layer && layers.size() > 1) {
    const auto choice = choose_per_layer(candidates, layers, tight);
    if (choice && (!out.uniform || choice->tuning.bytes < out.uniform->tuning.bytes))
      out.per_layer = choice;
  }
  find_front(candidates, tuning.target, out);
  return out;
}

}  // namespace

std::vector<PolicyTuning> tune(const ResultFile& result, const Tuning& tuning) {
  std::vector<PolicyTuning> all;
  for (std::size_t t = 0; t < result.traces.size(); ++t) {
    std::vector<std::string> names;
    for (const StoredRun& run : result.runs)
      if (std::find(names.begin(), names.end(), run.policy) == names.end())
        names.push_back(run.policy);
    for (const std::string& policy : names) {
      std::vector<Candidate> candidates;
      for (std::size_t r = 0; r < result.runs.size(); ++r) {
        const StoredRun& run = result.runs[r];
        if (run.trace != t || run.policy != policy) continue;
        candidates.push_back({r, sample(run, tuning.target, tuning.holdout, false),
                              sample(run, tuning.target, tuning.holdout, true)});
        if (candidates.back().heldout.empty() || candidates.back().tuning.empty())
          fail_input(result.path, ": ", run.label,
                     " has one step only; tuning needs at least two, to "
                     "hold one out");
      }
      if (candidates.empty()) continue;
      PolicyTuning tuned = tune_policy(candidates, tuning);
      tuned.policy = policy, tuned.trace = result.traces[t].name;
      all.push_back(std::move(tuned));
    }
  }
  return all;
}

}  // namespace doublep
