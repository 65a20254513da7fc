#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "experiments/tune/cheapest.h"
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

std::optional<Choice> choose_per_layer(const std::vector<Candidate>& candidates,
                                       const std::vector<int>& layers, const Target& target) {
  std::size_t rows = 0;
  for (int l : layers) rows += candidates[0].tuning.at(l).values.size();
  const Limit limit(target, rows);
  std::vector<std::vector<LayerOption>> options(layers.size());
  for (std::size_t l = 0; l < layers.size(); ++l)
    for (const Candidate& c : candidates)
      options[l].push_back(limit.option(c.tuning.at(layers[l])));
  const auto found = cheapest(options, limit);
  if (!found) return std::nullopt;
  Choice choice;
  std::vector<const Candidate*> chosen;
  for (std::size_t i : found->choice)
    chosen.push_back(&candidates[i]), choice.runs.push_back(candidates[i].run);
  choice.layers = layers;
  choice.tuning = mixed(chosen, layers, target, false);
  choice.heldout = mixed(chosen, layers, target, true);
  choice.bytes_at_least = found->at_least / static_cast<double>(layers.size());
  return choice;
}

void find_front(const std::vector<Candidate>& candidates, const Target& target, PolicyTuning& out) {
  std::vector<std::pair<Score, std::size_t>> all;
  for (const Candidate& c : candidates)
    if (const Score s = whole(c, target, true); !std::isnan(s.value)) all.emplace_back(s, c.run);
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

// Candidates are compared layer by layer: each must have every layer, with as many rows.
void check_alike(const Candidate& first, const Candidate& other, const ResultFile& result) {
  const auto alike = [](const auto& a, const auto& b) {
    return a.first == b.first && a.second.values.size() == b.second.values.size();
  };
  if (!std::equal(first.tuning.begin(), first.tuning.end(), other.tuning.begin(),
                  other.tuning.end(), alike))
    fail_input(result.path, ": ", result.runs[other.run].label, " has other layers or rows than ",
               result.runs[first.run].label, "; run the sweep again with --fresh");
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
    out.uniform = Choice{layers, std::vector<std::size_t>(layers.size(), c.run), s,
                         whole(c, tight, true), s.bytes};
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
        check_alike(candidates.front(), candidates.back(), result);
      }
      if (candidates.empty()) continue;
      PolicyTuning tuned = tune_policy(candidates, tuning);
      tuned.policy = policy, tuned.trace = t;
      all.push_back(std::move(tuned));
    }
  }
  return all;
}

}  // namespace doublep
