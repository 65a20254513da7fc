#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/base/output.h"
#include "core/base/text.h"
#include "core/yaml/yaml.h"
#include "experiments/config/emit.h"
#include "experiments/gate/gate.h"
#include "experiments/results/stored_run.h"

namespace doublep {
namespace {

// Selections are decided in float64, so counts may not move at all; what attention in float32 adds
// up may differ in its last digits between compilers and SIMD widths.
Tolerance tolerance_of(Gate gate) {
  switch (gate) {
    case Gate::kMass:
      return {1e-9, 0, false};
    case Gate::kFloat32:
      return {2e-6, 1e-5, false};
    case Gate::kCost:
      return {0, 1e-9, false};
    default:
      return {0, 0, true};
  }
}

struct Metric {
  std::string name;
  const RowField* field;
  bool by_step;  ///< weighted by the step: a token moved from one to another keeps the plain sum
  Tolerance tolerance;

  double value(const Row& row) const { return field->value(row) * (by_step ? row.step + 1 : 1); }
};

const std::vector<Metric>& metrics() {
  static const auto list = [] {
    std::vector<Metric> all;
    for (const RowField& field : row_fields()) {
      if (field.gate == Gate::kNone) continue;
      const Tolerance tolerance = tolerance_of(field.gate);
      all.push_back({field.column.name, &field, false, tolerance});
      if (field.gate == Gate::kCountByStep)
        all.push_back({field.column.name + "_by_step", &field, true, tolerance});
    }
    return all;
  }();
  return list;
}

Tolerance read_tolerance(const Yaml& node) {
  node.only({"exact", "absolute", "relative", "worse"});
  Tolerance t;
  t.exact = node.flag("exact", false);
  t.absolute = node.real("absolute", 0, 0), t.relative = node.real("relative", 0, 0);
  const std::string worse = node.text("worse", "either");
  if (worse != "either" && worse != "higher" && worse != "lower")
    node.at("worse").fail("expected either, higher or lower");
  t.worse = worse == "higher"  ? Tolerance::Worse::kHigher
            : worse == "lower" ? Tolerance::Worse::kLower
                               : Tolerance::Worse::kEither;
  return t;
}

void write_tolerance(YamlWriter& yaml, const Tolerance& t) {
  const char* worse[] = {"either", "higher", "lower"};
  yaml.map(YamlWriter::kFlow);
  if (t.exact)
    yaml.entry("exact", true);
  else
    yaml.entry("absolute", t.absolute).entry("relative", t.relative);
  yaml.entry("worse", worse[static_cast<int>(t.worse)]).end();
}

double read_number(const Yaml& node) {
  const std::string text = node.text();
  if (text == ".nan") return std::nan("");
  if (text == ".inf") return INFINITY;
  if (text == "-.inf") return -INFINITY;
  return node.real(-INFINITY, INFINITY);
}

BaselineRun read_run(const Yaml& node) {
  node.only({"policy", "label", "parameters", "trace", "trace_hash", "layers"});
  BaselineRun run{node.at("policy").text(),     node.at("label").text(),
                  node.at("parameters").text(), node.at("trace_hash").text(),
                  node.at("trace").text(),      {}};
  for (const std::string& name : node.at("layers").keys()) {
    const Yaml columns = node.at("layers").at(name);
    const auto layer = parse_integer(name);
    if (!layer || *layer < 0 || *layer > std::numeric_limits<int>::max())
      columns.fail("'" + name + "' is no layer; expected its index in the model");
    for (const std::string& metric : columns.keys()) {
      int head = 0;  // one value a head, in order
      for (const Yaml& value : columns.at(metric).items())
        run.heads[{static_cast<int>(*layer), head++}][metric] = read_number(value);
    }
  }
  return run;
}

}  // namespace

const std::vector<std::pair<std::string, Tolerance>>& gate_metrics() {
  static const auto list = [] {
    std::vector<std::pair<std::string, Tolerance>> out;
    for (const Metric& m : metrics()) out.emplace_back(m.name, m.tolerance);
    return out;
  }();
  return list;
}

Baseline Baseline::of(const ResultFile& result) {
  Baseline b;
  b.path = result.path, b.config = result.config, b.config_hash = result.config_hash;
  b.commit = result.commit, b.created = result.created;
  for (const auto& [name, tolerance] : gate_metrics()) b.tolerances[name] = tolerance;
  for (const StoredRun& run : result.runs) {
    BaselineRun& out = b.runs[run.key];
    out = {run.policy,
           run.label,
           run.parameters,
           result.traces[run.trace].hash,
           result.traces[run.trace].name,
           {}};
    std::map<std::pair<int, int>, double> steps;
    for (const Row& row : run.rows) {
      MetricValues& values = out.heads[{row.layer, row.head}];
      for (const Metric& m : metrics()) values[m.name] += m.value(row);
      ++steps[{row.layer, row.head}];
    }
    for (auto& [place, values] : out.heads)
      for (const Metric& m : metrics())
        if (!m.tolerance.exact) values[m.name] /= steps[place];
  }
  return b;
}

Baseline Baseline::load(const std::string& path) {
  const Yaml root = Yaml::load(path);
  root.only({"format", "config_hash", "commit", "created", "tolerances", "config", "runs"});
  if (root.text("format", "") != "doublep-baseline-1")
    root.fail(
        "format: expected doublep-baseline-1; write a baseline with `doublep check --update`");
  Baseline b;
  b.path = path, b.config_hash = root.at("config_hash").text();
  b.commit = root.text("commit", ""), b.created = root.text("created", "");
  b.config = root.at("config").text();
  for (const auto& [name, tolerance] : gate_metrics()) b.tolerances[name] = tolerance;
  for (const std::string& metric : root.at("tolerances").keys()) {
    if (!b.tolerances.count(metric))
      root.at("tolerances")
          .at(metric)
          .fail("no metric is called '" + metric +
                "'; remove the file and write it anew with `doublep check --update`");
    b.tolerances[metric] = read_tolerance(root.at("tolerances").at(metric));
  }
  for (const std::string& key : root.at("runs").keys())
    b.runs[key] = read_run(root.at("runs").at(key));
  return b;
}

void Baseline::save(const std::string& file) const {
  YamlWriter yaml;
  yaml.comment("Written by `doublep check --update`. Tolerances may be edited by hand: a value")
      .comment("passes where it moved by no more than absolute + relative * |baseline|; exact ones")
      .comment("may not move at all.");
  yaml.map().entry("format", "doublep-baseline-1").entry("config_hash", config_hash);
  yaml.entry("commit", commit).entry("created", created).key("tolerances").map();
  for (const auto& [name, unused] : gate_metrics())
    write_tolerance(yaml.key(name), tolerances.at(name));
  yaml.end().entry("config", config).key("runs").map();
  for (const auto& [key, run] : runs) {
    yaml.key(key).map().entry("policy", run.policy).entry("label", run.label);
    yaml.entry("parameters", run.parameters).entry("trace", run.trace_name);
    yaml.entry("trace_hash", run.trace_hash).key("layers").map();
    for (auto first = run.heads.begin(); first != run.heads.end();) {
      const int layer = first->first.first;
      const auto last = run.heads.lower_bound({layer + 1, 0});
      yaml.key(layer).map();
      for (const auto& [metric, unused] : gate_metrics()) {
        yaml.key(metric).list(YamlWriter::kFlow);
        for (auto head = first; head != last; ++head) yaml.value(head->second.at(metric));
        yaml.end();
      }
      yaml.end();
      first = last;
    }
    yaml.end().end();
  }
  write_output(file, yaml.end().end().text());
}

}  // namespace doublep
