#include <cmath>

#include "core/base/error.h"
#include "core/yaml/yaml.h"
#include "experiments/tune/tuning.h"

namespace doublep {
namespace {

using Metric = Target::Metric;

constexpr std::pair<const char*, Metric> kMetrics[] = {
    {"output_error", Metric::kOutputError},
    {"violation_rate", Metric::kViolationRate},
    {"error_violation_rate", Metric::kErrorViolationRate},
    {"covered_mass", Metric::kCoveredMass},
    {"exact_mass", Metric::kExactMass}};

Target read_target(const Yaml& node) {
  node.only({"metric", "percentile", "at_most", "at_least", "mass", "error"});
  Target target{};
  bool known = false;
  for (const auto& [name, metric] : kMetrics)
    if (node.at("metric").text() == name) target.metric = metric, known = true;
  if (!known)
    node.at("metric").fail(
        "expected output_error, violation_rate, error_violation_rate, covered_mass or exact_mass");
  target.percentile = node.real("percentile", -1, 0, 100);
  if (target.is_rate() && node.has("percentile"))
    node.at("percentile").fail("a rate is a mean already; leave it out");
  if (node.has("mass") && target.metric != Metric::kViolationRate)
    node.at("mass").fail("belongs to violation_rate only");
  if (node.has("error") && target.metric != Metric::kErrorViolationRate)
    node.at("error").fail("belongs to error_violation_rate only");
  target.mass = node.real("mass", 0.95, 0, 1);
  target.error = node.real("error", 0.05, 0, kNoLimit);
  const char* key = target.at_most() ? "at_most" : "at_least";
  if (node.has(target.at_most() ? "at_least" : "at_most"))
    node.fail(concat("this metric is bounded by ", key));
  target.bound = node.at(key).real(0, target.metric == Metric::kOutputError ? kNoLimit : 1);
  return target;
}

}  // namespace

double Target::margin(double value) const {
  const double distance = at_most() ? bound - value : value - bound;
  // For a mass the room that matters is what it may miss: 1 - bound.
  const double room = at_most() ? bound : 1 - bound;
  return room > 0 ? distance / room : (distance >= 0 ? 0 : -INFINITY);
}

std::string Target::text() const {
  const char* name = "";
  for (const auto& [n, m] : kMetrics)
    if (m == metric) name = n;
  const std::string statistic =
      metric == Metric::kViolationRate        ? concat(" (covered mass below ", mass, ")")
      : metric == Metric::kErrorViolationRate ? concat(" (output error above ", error, ")")
      : percentile < 0                        ? " on average"
                                              : concat(" at percentile ", percentile);
  return concat(name, at_most() ? " at most " : " at least ", bound, statistic);
}

Tuning load_tuning(const std::string& path, const std::vector<std::string>& overrides,
                   bool any_number) {
  const Yaml root = load_config(path, overrides);
  root.only({"name", "output", "seed", "target_mass", "kv_dtype", "backend", "replay", "traces",
             "defaults", "policies", "target", "holdout", "holdout_steps", "safety", "per_layer",
             "skip_invalid"});
  Tuning tuning;
  tuning.sweep = read_sweep(root, any_number);
  if (tuning.sweep.seeds.size() > 1)
    root.at("seed").fail("a choice is made for one seed; name one");
  for (const RunSpec& run : tuning.sweep.runs)
    if (!run.by_layer.empty())
      root.at("policies").fail("holds what was tuned per layer already; candidates are lists");
  tuning.target = read_target(root.at("target"));
  tuning.holdout.share = root.real("holdout", 0.5, 0.01, 0.99);
  const std::string which = root.text("holdout_steps", "last");
  if (which != "last" && which != "spread")
    root.at("holdout_steps").fail("expected last or spread");
  tuning.holdout.spread = which == "spread";
  tuning.safety = root.real("safety", 0, 0, 0.99);
  tuning.per_layer = root.flag("per_layer", true);
  return tuning;
}

}  // namespace doublep
