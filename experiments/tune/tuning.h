// Tuning: the cheapest parameters, by bytes read, that meet a target; chosen on a part of the steps
// and judged on the rest.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "experiments/config/sweep.h"
#include "experiments/results/result_reader.h"

namespace doublep {

/// "output_error at most 0.05 on average" or "covered_mass at least 0.95 at the 5th percentile".
struct Target {
  enum class Metric {
    kOutputError,
    kViolationRate,
    kErrorViolationRate,
    kCoveredMass,
    kExactMass
  } metric;
  double percentile = -1;  ///< of the rows, in [0, 100]; -1: the mean
  double bound = 0;
  double mass = 0.95;  ///< violation_rate: share of rows whose covered mass lies below this

  double error = 0.05;  ///< error_violation_rate: share of rows whose output error is above this

  bool is_rate() const {
    return metric == Metric::kViolationRate || metric == Metric::kErrorViolationRate;
  }
  bool at_most() const { return metric == Metric::kOutputError || is_rate(); }
  bool met(double value) const { return at_most() ? value <= bound : value >= bound; }
  /// How far inside the bound, as a share of it; negative: not met.
  double margin(double value) const;
  std::string text() const;
};

/// The steps that judge the choice.
struct Holdout {
  double share = 0.5;
  bool spread = false;  ///< evenly over the run, instead of the last ones
};

struct Tuning {
  Sweep sweep;  ///< the candidates: every run of the sweep
  Target target;
  Holdout holdout;
  double safety = 0;      ///< the choice must meet the bound tightened by this share
  bool per_layer = true;  ///< also look for parameters per layer
};

/// The keys of a sweep, and `target`, `holdout`, `safety`, `per_layer`. Throws InputError.
Tuning load_tuning(const std::string& path, const std::vector<std::string>& overrides,
                   bool any_number = false);

/// One candidate on one set of rows.
struct Score {
  double value = 0;  ///< the target's statistic
  double bytes = 0;  ///< read per layer and step
};

/// Parameters for every layer: indices into ResultFile::runs, one per layer.
struct Choice {
  std::vector<int> layers;
  std::vector<std::size_t> runs;
  Score tuning, heldout;
  /// No choice of the candidates that meets the bound reads less; `tuning.bytes`: it is the
  /// cheapest.
  double bytes_at_least = 0;
};

struct PolicyTuning {
  std::string policy;
  std::size_t trace = 0;  ///< index into ResultFile::traces
  std::size_t candidates = 0;
  std::optional<Choice> uniform;    ///< the same parameters in every layer; none: nothing meets it
  std::optional<Choice> per_layer;  ///< where asked for, and cheaper than uniform
  double closest = 0;               ///< best value that any candidate reaches, on the tuning part
  std::vector<std::size_t>
      front;  ///< runs on the Pareto front of the held-out part, cheapest first
  std::vector<Score> front_scores;
};

/// One entry per trace and policy, in the order of the sweep.
std::vector<PolicyTuning> tune(const ResultFile& result, const Tuning& tuning);

/// One candidate in one layer: its rows' values of the target's metric, and bytes per step.
struct LayerSample {
  std::vector<double> values;
  double bytes = 0;
  double sum() const;  ///< of the values, one after the other
};

/// By layer. `heldout`: which part of the steps.
std::map<int, LayerSample> sample(const StoredRun& run, const Target& target,
                                  const Holdout& holdout, bool heldout);

/// The target's statistic over the rows of several layers, and the mean of their bytes.
Score score(const std::vector<const LayerSample*>& layers, const Target& target);

/// Whatever the target is, what else there is to say of a choice: over the rows of the held-out
/// steps, in all layers. None of them alone ranks policies as a model's answers do.
struct Beside {
  double error = 0;             ///< output error, mean
  double error_p95 = 0;         ///< its 95th percentile
  double error_worst_head = 0;  ///< its largest mean over the steps of one (layer, head)
  double exact_mass = 0;        ///< true mass attended exactly, mean
};
Beside beside(const Choice& choice, const ResultFile& result, const Holdout& holdout);

/// The chosen points with their margins, and the Pareto fronts, for people.
void print_tuning(const std::vector<PolicyTuning>& all, const ResultFile& result,
                  const Tuning& tuning, std::ostream& out);

/// How many entries of `all` have a choice that meets the target.
std::size_t num_chosen(const std::vector<PolicyTuning>& all);

/// The chosen parameters as YAML, an entry per trace and policy that has a choice. A trace is told
/// by its hash and its path; `layers` holds the full parameters of every layer:
///   tuned: [{trace, trace_hash, trace_path, policy, backend,
///            heldout: {value, bytes_per_layer_and_step, met}, layers: {0: {...}, ...}}, ...]
std::string tuning_yaml(const std::vector<PolicyTuning>& all, const ResultFile& result,
                        const Tuning& tuning);

}  // namespace doublep
