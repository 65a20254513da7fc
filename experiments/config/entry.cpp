#include "experiments/config/entry.h"

#include <algorithm>

#include "core/base/text.h"
#include "experiments/config/values.h"

namespace doublep {
namespace {

// The name, and what is wrong with it, at the place in the file where it stands. A pointer: g++ 14
// takes a reference for a part of the argument, which is a temporary.
const PolicyInfo* find_policy(const Yaml& name) {
  try {
    return &PolicyRegistry::instance().find(name.text());
  } catch (const InputError& e) {
    name.fail(e.what());
  }
}

const ParamSpec* spec_of(const PolicyInfo& policy, const std::string& parameter) {
  for (const ParamSpec& spec : policy.parameters)
    if (spec.name == parameter) return &spec;
  return nullptr;
}

// The values of one key. A 1 among shares may be meant as all or as one: it has to be said.
std::vector<ParamValue> read_axis(const ParamSpec* spec, const Yaml& node) {
  auto values = expand_values(node);
  if (!spec || spec->type != ParamSpec::Type::kBudget) return values;
  const bool shares = std::any_of(values.begin(), values.end(), [](const ParamValue& v) {
    return std::holds_alternative<double>(v);
  });
  for (std::size_t i = 0; shares && i < values.size(); ++i)
    if (values[i] == ParamValue(std::int64_t{1}))
      node.items()[i].fail(
          "1 in a list of shares: write 100% or 1.0 for all, or list numbers alone");
  return values;
}

}  // namespace

std::string read_backend(const Yaml& entry, const Yaml& root) {
  const Yaml& holder = entry.has("backend") ? entry : root;
  std::string backend = holder.text("backend", "cpu");
  if (backend != "cpu" && backend != "cuda" && backend != "auto")
    holder.at("backend").fail("expected cpu, cuda or auto");
  return backend;
}

PolicyEntry::PolicyEntry(const Yaml& entry, const Yaml& root, std::set<std::string>& used_defaults)
    : entry_(entry),
      root_(root),
      policy_(find_policy(entry.is_scalar() ? entry : entry.at("policy"))),
      backend_(read_backend(entry, root)),
      title_(entry.is_scalar() ? "" : entry.text("title", "")) {
  if (root.has("defaults")) {
    const Yaml defaults = root.at("defaults");
    for (const auto& key : defaults.keys())
      if (const ParamSpec* spec = spec_of(*policy_, key)) {
        used_defaults.insert(key);
        if (!entry.has(key)) axes_.emplace_back(key, read_axis(spec, defaults.at(key)));
      }
  }
  if (entry.is_scalar()) return;  // a bare name: the policy with its defaults
  for (const auto& key : entry.keys())
    if (key != "policy" && key != "backend" && key != "title")
      axes_.emplace_back(key, read_axis(spec_of(*policy_, key), entry.at(key)));
}

double PolicyEntry::count() const {
  double runs = 1;
  for (const auto& [name, values] : axes_) runs *= static_cast<double>(values.size());
  return runs;
}

void PolicyEntry::fail(const ParameterError& error) const {
  if (entry_.has(error.parameter)) entry_.at(error.parameter).fail(error.what());
  if (root_.has("defaults") && root_.at("defaults").has(error.parameter))
    root_.at("defaults").at(error.parameter).fail(error.what());
  entry_.fail(error.what());
}

// An odometer over the axes; the last one turns fastest.
void PolicyEntry::expand(Expansion& into) const {
  const bool skip = root_.flag("skip_invalid", false);
  const std::size_t before = into.runs.size();
  // A value that is wrong by itself is wrong in every combination, skipped or not: values first.
  PolicyInfo any_combination = *policy_;
  any_combination.check = [](const Parameters&) {};
  std::vector<std::size_t> place(axes_.size(), 0);
  for (bool more = true; more;) {
    Values values;
    for (std::size_t a = 0; a < axes_.size(); ++a)
      values[axes_[a].first] = axes_[a].second[place[a]];
    std::size_t turn = axes_.size();
    while (turn > 0 && ++place[turn - 1] == axes_[turn - 1].second.size()) place[--turn] = 0;
    more = turn > 0;
    try {
      const Parameters parameters = resolve(any_combination, values);
      try {
        policy_->check(parameters);
      } catch (const ParameterError&) {
        if (!skip || (!more && into.runs.size() == before)) throw;
        ++into.skipped;
        continue;
      }
      into.runs.push_back({policy_->name, backend_, parameters, ""});
      into.runs.back().title = title_;
    } catch (const ParameterError& e) {
      fail(e);
    }
  }
}

std::vector<TunedChoice> read_choices(const Yaml& file) {
  std::vector<TunedChoice> choices;
  if (!file.is_map() || !file.has("tuned"))
    file.fail("expected the key `tuned`; write such a file with `doublep tune -o`");
  for (const Yaml& item : file.at("tuned").items()) {
    const PolicyInfo& policy = *find_policy(item.at("policy"));
    TunedChoice choice{policy.name, item.text("backend", ""), item.text("trace", ""), {}};
    const Yaml layers = item.at("layers");
    for (const std::string& key : layers.keys()) {
      const auto layer = parse_integer(key);
      if (!layer || *layer < 0 || *layer > 1000000000)
        layers.at(key).fail("expected the number of a layer, not '" + key + "'");
      const Yaml given = layers.at(key);
      std::map<std::string, ParamValue> values;
      for (const std::string& name : given.keys()) values[name] = given.at(name).value();
      try {
        choice.layers.emplace(static_cast<int>(*layer), resolve(policy, values));
      } catch (const ParameterError& e) {
        (given.has(e.parameter) ? given.at(e.parameter) : given).fail(e.what());
      }
    }
    if (choice.layers.empty()) layers.fail("expected at least one layer");
    choices.push_back(std::move(choice));
  }
  return choices;
}

std::vector<RunSpec> read_tuned_entry(const Yaml& entry, const Yaml& root) {
  entry.only({"tuned", "policy", "trace", "backend"});
  const std::string path = input_path(entry.at("tuned"));
  const std::string backend = read_backend(entry, root);
  std::vector<RunSpec> runs;
  for (const TunedChoice& choice : read_choices(Yaml::load(path))) {
    if (entry.has("policy") && entry.at("policy").text() != choice.policy) continue;
    if (entry.has("trace") && entry.at("trace").text() != choice.trace) continue;
    RunSpec run{choice.policy, choice.backend, choice.layers.begin()->second, ""};
    if (run.backend.empty() || entry.has("backend") || root.has("backend")) run.backend = backend;
    run.tuned_on = choice.trace;
    for (const auto& [layer, parameters] : choice.layers)
      if (parameters.to_json() != run.parameters.to_json()) run.by_layer = choice.layers;
    runs.push_back(std::move(run));
  }
  if (runs.empty()) entry.fail(path + " holds nothing of that policy and trace");
  return runs;
}

}  // namespace doublep
