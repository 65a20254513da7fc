#include "experiments/config/sweep.h"

#include <algorithm>
#include <map>
#include <set>

#include "experiments/config/paths.h"
#include "experiments/config/values.h"
#include "experiments/config/yaml.h"

namespace doublep {
namespace {

using Values = std::map<std::string, ParamValue>;

// The lists of one entry, multiplied out; the last key varies fastest.
std::vector<Values> product(
    const std::vector<std::pair<std::string, std::vector<ParamValue>>>& axes) {
  std::vector<Values> all = {{}};
  for (const auto& [name, values] : axes) {
    std::vector<Values> longer;
    for (const Values& base : all)
      for (const ParamValue& value : values) {
        longer.push_back(base);
        longer.back()[name] = value;
      }
    all = std::move(longer);
  }
  return all;
}

// The name, and what is wrong with it, at the place in the file where it stands.
const PolicyInfo& find_policy(Yaml name) {
  try {
    return PolicyRegistry::instance().find(name.text());
  } catch (const InputError& e) {
    name.fail(e.what());
  }
}

bool declares(const PolicyInfo& policy, const std::string& parameter) {
  for (const ParamSpec& spec : policy.parameters)
    if (spec.name == parameter) return true;
  return false;
}

void read_policy(const Yaml& entry, const Yaml& root, std::set<std::string>& used_defaults,
                 std::vector<RunSpec>& runs) {
  const PolicyInfo& policy = find_policy(entry.at("policy"));
  const std::string backend = entry.text("backend", root.text("backend", "cpu"));
  if (backend != "cpu" && backend != "cuda" && backend != "auto")
    (entry.has("backend") ? entry : root).at("backend").fail("expected cpu, cuda or auto");
  std::vector<std::pair<std::string, std::vector<ParamValue>>> axes;
  if (root.has("defaults"))
    for (const auto& key : root.at("defaults").keys())
      if (declares(policy, key)) {
        used_defaults.insert(key);
        if (!entry.has(key)) axes.emplace_back(key, expand_values(root.at("defaults").at(key)));
      }
  for (const auto& key : entry.keys())
    if (key != "policy" && key != "backend") axes.emplace_back(key, expand_values(entry.at(key)));
  for (const Values& values : product(axes)) {
    try {
      runs.push_back({policy.name, backend, resolve(policy, values), ""});
    } catch (const ParameterError& e) {
      if (entry.has(e.parameter)) entry.at(e.parameter).fail(e.what());
      if (root.has("defaults") && root.at("defaults").has(e.parameter))
        root.at("defaults").at(e.parameter).fail(e.what());
      entry.fail(e.what());
    }
  }
}

void remove_duplicates(std::vector<RunSpec>& runs, std::size_t& duplicates) {
  std::set<std::string> seen;
  std::vector<RunSpec> kept;
  for (RunSpec& run : runs)
    if (seen.insert(run.backend + run.policy + run.parameters.to_json()).second)
      kept.push_back(std::move(run));
    else
      ++duplicates;
  runs = std::move(kept);
}

// "double_p p1=0.95 p2=0.7": the parameters that differ between this sweep's runs of the policy.
void make_labels(std::vector<RunSpec>& runs) {
  std::map<std::string, std::map<std::string, std::set<std::string>>> seen;
  std::map<std::string, std::set<std::string>> backends;
  for (const RunSpec& run : runs) {
    backends[run.policy].insert(run.backend);
    for (const auto& [name, value] : run.parameters.values())
      seen[run.policy][name].insert(to_text(value));
  }
  for (RunSpec& run : runs) {
    run.label = run.policy;
    if (backends[run.policy].size() > 1) run.label += " " + run.backend;
    for (const ParamSpec& spec : PolicyRegistry::instance().find(run.policy).parameters)
      if (seen[run.policy][spec.name].size() > 1)
        run.label += concat(" ", spec.name, "=", to_text(run.parameters.values().at(spec.name)));
  }
}

ReplayOptions read_replay(const Yaml& root) {
  ReplayOptions options;
  options.target_mass = root.real("target_mass", 0.95, 1e-12, 1);
  if (!root.has("replay")) return options;
  const Yaml replay = root.at("replay").only({"layers", "every_step", "max_steps"});
  if (replay.has("layers"))
    for (const Yaml& layer : replay.at("layers").items()) {
      const int index = static_cast<int>(layer.integer(0, 1e9));
      if (std::find(options.layers.begin(), options.layers.end(), index) != options.layers.end())
        layer.fail("the layer is named twice");
      options.layers.push_back(index);
    }
  options.every_step = replay.integer("every_step", 1, 1);
  options.max_steps = replay.integer("max_steps", 0, 0);
  return options;
}

}  // namespace

void apply_override(Yaml& root, const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    fail_input("--set ", text, ": expected key=value, such as seed=1 or double_p.p1=0.9");
  const std::string key = text.substr(0, equals), value = text.substr(equals + 1);
  const auto dot = key.find('.');
  bool found = false;
  if (dot != std::string::npos && root.has("policies") && root.at("policies").is_list()) {
    for (Yaml entry : root.at("policies").items())
      if (entry.text("policy", "") == key.substr(0, dot))
        entry.assign(key.substr(dot + 1), value), found = true;
  }
  if (!found) root.assign(key, value);
}

std::vector<RunSpec> expand_policies(const Yaml& root, std::size_t& duplicates) {
  std::vector<RunSpec> runs;
  std::set<std::string> used_defaults;
  for (const Yaml& entry : root.at("policies").items())
    read_policy(entry, root, used_defaults, runs);
  if (root.has("defaults"))
    for (const auto& key : root.at("defaults").keys())
      if (!used_defaults.count(key))
        root.at("defaults").at(key).fail("no policy of this sweep has a parameter '" + key + "'");
  remove_duplicates(runs, duplicates);
  make_labels(runs);
  return runs;
}

Yaml load_config(const std::string& path, const std::vector<std::string>& overrides) {
  Yaml root = Yaml::load(path);
  if (!root.is_map()) root.fail("expected a map with the keys name, traces and policies");
  for (const std::string& text : overrides) apply_override(root, text);
  return root;
}

Sweep load_sweep(const std::string& path, const std::vector<std::string>& overrides) {
  const Yaml root = load_config(path, overrides);
  root.only({"name", "output", "seed", "target_mass", "kv_dtype", "backend", "replay", "traces",
             "defaults", "policies"});
  return read_sweep(root);
}

Sweep read_sweep(const Yaml& root) {
  Sweep sweep;
  sweep.path = root.file();
  sweep.name = config_name(root);
  sweep.output = root.text("output", "results/" + sweep.name + ".h5");
  sweep.seed = static_cast<std::uint64_t>(root.integer("seed", 0, 0));
  if (root.has("kv_dtype")) {
    try {
      sweep.kv_dtype = parse_kv_dtype(root.at("kv_dtype").text());
    } catch (const InputError& e) {
      root.at("kv_dtype").fail(e.what());
    }
  }
  sweep.replay = read_replay(root);
  sweep.traces = input_paths(root.at("traces"), "trace");
  sweep.inputs = sweep.traces;
  sweep.inputs.push_back(sweep.path);
  sweep.runs = expand_policies(root, sweep.duplicates);
  return sweep;
}

}  // namespace doublep
