#include "experiments/config/sweep.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/trace/source.h"
#include "core/yaml/yaml.h"
#include "experiments/config/entry.h"
#include "experiments/config/values.h"

namespace doublep {
namespace {

void remove_duplicates(std::vector<RunSpec>& runs, std::size_t& duplicates) {
  std::set<std::string> seen;
  std::vector<RunSpec> kept;
  for (RunSpec& run : runs)
    if (seen.insert(run.backend + run.policy + run.parameters_json()).second)
      kept.push_back(std::move(run));
    else
      ++duplicates;
  runs = std::move(kept);
}

// "double_p p1=0.95 p2=0.7": the parameters that differ between this sweep's runs of the policy.
void make_labels(std::vector<RunSpec>& runs) {
  // By policy and variant: a variant's name stands for what it sets.
  const auto kind = [](const RunSpec& run) {
    const std::string& variant = run.parameters.variant();
    return variant.empty() ? run.policy : concat(run.policy, " ", variant);
  };
  std::map<std::string, std::map<std::string, std::set<std::string>>> seen;
  std::map<std::string, std::set<std::string>> backends;
  for (const RunSpec& run : runs) {
    backends[run.policy].insert(run.backend);
    if (run.by_layer.empty())
      for (const auto& [name, value] : run.parameters.values())
        seen[kind(run)][name].insert(to_text(value));
  }
  std::map<std::string, int> tuned;  // of each label, how often
  for (RunSpec& run : runs) {
    run.label = kind(run);
    if (backends[run.policy].size() > 1) run.label += " " + run.backend;
    if (!run.by_layer.empty()) {
      run.label += " tuned=" + run.tuned_on;
      if (const int before = tuned[run.label]++) run.label += concat("#", before + 1);
      continue;
    }
    for (const ParamSpec& spec : PolicyRegistry::instance().find(run.policy).parameters)
      if (seen[kind(run)][spec.name].size() > 1)
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

const Parameters& RunSpec::of_layer(int layer) const {
  if (by_layer.empty()) return parameters;
  const auto it = by_layer.find(layer);
  DP_ASSERT(it != by_layer.end(), label, " has no layer ", layer);
  return it->second;
}

std::string RunSpec::parameters_json() const {
  if (by_layer.empty()) return parameters.to_json();
  std::string text = "{";
  for (const auto& [name, value] : parameters.values()) {
    const auto json = [](const ParamValue& v) {
      return std::holds_alternative<std::string>(v) ? json_text(to_text(v)) : to_text(v);
    };
    std::string each;
    bool differs = false;
    for (const auto& [layer, mine] : by_layer) {
      const ParamValue& here = mine.values().at(name);
      differs = differs || !(here == value);
      each += concat(each.empty() ? "" : ", ", "\"", layer, "\": ", json(here));
    }
    text += concat(text.size() > 1 ? ", " : "", json_text(name), ": ",
                   differs ? "{" + each + "}" : json(value));
  }
  return text + "}";
}

void apply_override(Yaml& root, const std::string& text) {
  const std::string origin = "--set " + text;
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    fail_input(origin, ": expected key=value, such as seed=1 or double_p.p1=0.9");
  const std::string key = text.substr(0, equals), value = text.substr(equals + 1);
  const auto dot = key.find('.');
  bool found = false;
  if (dot != std::string::npos && root.has("policies") && root.at("policies").is_list()) {
    const std::string policy = key.substr(0, dot);
    for (Yaml entry : root.at("policies").items()) {
      if (entry.is_scalar() && entry.text() == policy) entry.wrap("policy");
      if (!entry.has("tuned") && entry.text("policy", "") == policy)
        entry.assign(key.substr(dot + 1), value, origin), found = true;
    }
  }
  if (!found) root.assign(key, value, origin);
}

Expansion expand_policies(const Yaml& root, double times, bool any_number) {
  Expansion all;
  std::set<std::string> used_defaults;
  // In the order of the file: what is expanded here, or found elsewhere.
  std::vector<std::pair<Yaml, std::vector<PolicyEntry>>> entries;
  double count = 0;
  for (const Yaml& entry : root.at("policies").items()) {
    auto& [node, policy] = entries.emplace_back(entry, std::vector<PolicyEntry>{});
    if (!entry.has("tuned"))
      count += policy.emplace_back(entry, root, used_defaults).count() * times;
  }
  if (count > kMostRuns && !any_number)
    root.at("policies")
        .fail(concat("comes to ", count, " runs, more than ", kMostRuns,
                     "; shorten the lists, or say --yes if you mean it"));
  for (const auto& [node, policy] : entries) {
    for (const PolicyEntry& entry : policy) entry.expand(all);
    if (!policy.empty()) continue;
    for (RunSpec& run : read_tuned_entry(node, root)) all.runs.push_back(std::move(run));
    all.inputs.push_back(input_path(node.at("tuned")));
  }
  if (root.has("defaults"))
    for (const auto& key : root.at("defaults").keys())
      if (!used_defaults.count(key))
        root.at("defaults").at(key).fail("no policy of this sweep has a parameter '" + key + "'");
  remove_duplicates(all.runs, all.duplicates);
  make_labels(all.runs);
  return all;
}

Yaml load_config(const std::string& path, const std::vector<std::string>& overrides) {
  Yaml root = Yaml::load(path);
  if (!root.is_map()) root.fail("expected a map with the keys name, traces and policies");
  if (root.has("tuned"))
    root.at("tuned").fail(
        "this is what `doublep tune` found; run it from a sweep, with `policies: [{tuned: FILE}]`");
  for (const std::string& text : overrides) apply_override(root, text);
  return root;
}

Sweep load_sweep(const std::string& path, const std::vector<std::string>& overrides,
                 bool any_number) {
  const Yaml root = load_config(path, overrides);
  root.only({"name", "output", "seed", "target_mass", "kv_dtype", "backend", "replay", "traces",
             "defaults", "policies", "skip_invalid"});
  return read_sweep(root, any_number);
}

namespace {

std::vector<std::uint64_t> read_seeds(const Yaml& node) {
  std::vector<std::uint64_t> seeds;
  for (const ParamValue& value : expand_values(node)) {
    const auto* seed = std::get_if<std::int64_t>(&value);
    if (!seed || *seed < 0)
      node.fail("expected integers of at least 0, not '" + to_text(value) + "'");
    const auto unsigned_seed = static_cast<std::uint64_t>(*seed);
    if (std::find(seeds.begin(), seeds.end(), unsigned_seed) != seeds.end())
      node.fail(concat("the seed ", *seed, " is named twice"));
    seeds.push_back(unsigned_seed);
  }
  return seeds;
}

// Each run once for every seed, one beside the other.
void multiply_by_seeds(Sweep& sweep) {
  std::vector<RunSpec> runs;
  for (const RunSpec& run : sweep.runs)
    for (std::uint64_t seed : sweep.seeds) {
      RunSpec& one = runs.emplace_back(run);
      one.seed = seed;
      if (sweep.seeds.size() > 1) one.label += concat(" seed=", seed);
    }
  sweep.runs = std::move(runs);
}

}  // namespace

Sweep read_sweep(const Yaml& root, bool any_number) {
  Sweep sweep;
  sweep.path = root.file();
  sweep.name = config_name(root);
  sweep.output = root.text("output", "results/" + sweep.name + ".h5");
  if (root.has("seed")) sweep.seeds = read_seeds(root.at("seed"));
  if (root.has("kv_dtype")) {
    try {
      sweep.kv_dtype = parse_kv_dtype(root.at("kv_dtype").text());
    } catch (const InputError& e) {
      root.at("kv_dtype").fail(e.what());
    }
  }
  sweep.replay = read_replay(root);
  sweep.traces = input_paths(root.at("traces"), "trace");
  Expansion expansion = expand_policies(
      root, static_cast<double>(sweep.traces.size() * sweep.seeds.size()), any_number);
  sweep.runs = std::move(expansion.runs);
  sweep.duplicates = expansion.duplicates, sweep.skipped = expansion.skipped;
  multiply_by_seeds(sweep);
  sweep.inputs = std::move(expansion.inputs);
  for (const std::string& trace : sweep.traces)
    for (std::string& file : trace_files(trace)) sweep.inputs.push_back(std::move(file));
  sweep.inputs.push_back(sweep.path);
  return sweep;
}

}  // namespace doublep
