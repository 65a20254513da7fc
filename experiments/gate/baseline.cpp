#include "experiments/gate/baseline.h"

#include <cmath>

#include "core/base/error.h"
#include "core/base/output.h"
#include "experiments/config/yaml.h"

namespace doublep {
namespace {

struct Metric {
  const char* name;
  double (*value)(const RowRecord&);
  Tolerance tolerance;
};

// Selections are decided in float64, so counts may not move at all; what attention in float32 adds
// up may differ in its last digits between compilers and SIMD widths.
constexpr Tolerance kExact = {0, 0, true};
constexpr Tolerance kMass = {1e-9, 0, false};
constexpr Tolerance kFloat32 = {2e-6, 1e-5, false};
constexpr Tolerance kCost = {0, 1e-9, false};

const std::vector<Metric>& metrics() {
  static const std::vector<Metric> all = {
      {"visible_tokens", [](const RowRecord& r) { return double(r.visible_tokens); }, kExact},
      {"exact_tokens", [](const RowRecord& r) { return double(r.exact_tokens); }, kExact},
      {"approximated_clusters", [](const RowRecord& r) { return double(r.approximated_clusters); },
       kExact},
      // Weighted by step: a token moved from one step to another keeps the sum above.
      {"exact_tokens_by_step",
       [](const RowRecord& r) { return double(r.exact_tokens) * (r.step + 1); }, kExact},
      {"clusters_by_step",
       [](const RowRecord& r) { return double(r.approximated_clusters) * (r.step + 1); }, kExact},
      {"oracle_tokens", [](const RowRecord& r) { return double(r.oracle_tokens); }, kExact},
      {"violation", [](const RowRecord& r) { return double(r.violation); }, kExact},
      {"exact_mass", [](const RowRecord& r) { return r.exact_mass; }, kMass},
      {"covered_mass", [](const RowRecord& r) { return r.covered_mass; }, kMass},
      {"output_error", [](const RowRecord& r) { return r.output_error; }, kFloat32},
      {"cosine", [](const RowRecord& r) { return r.cosine; }, kFloat32},
      {"lse_error", [](const RowRecord& r) { return r.lse_error; }, kFloat32},
      {"audited_mass", [](const RowRecord& r) { return r.audited_mass; }, kMass},
      {"audited_low", [](const RowRecord& r) { return r.audited_low; }, kMass},
      {"audited_high", [](const RowRecord& r) { return r.audited_high; }, kMass},
      {"bytes_index", [](const RowRecord& r) { return r.bytes[0]; }, kCost},
      {"bytes_estimate", [](const RowRecord& r) { return r.bytes[1]; }, kCost},
      {"bytes_select", [](const RowRecord& r) { return r.bytes[2]; }, kCost},
      {"bytes_attend", [](const RowRecord& r) { return r.bytes[3]; }, kCost},
      {"flops_index", [](const RowRecord& r) { return r.flops[0]; }, kCost},
      {"flops_estimate", [](const RowRecord& r) { return r.flops[1]; }, kCost},
      {"flops_select", [](const RowRecord& r) { return r.flops[2]; }, kCost},
      {"flops_attend", [](const RowRecord& r) { return r.flops[3]; }, kCost},
  };
  return all;
}

// Values that YAML and a reader of it agree on.
std::string number(double x) {
  if (std::isnan(x)) return ".nan";
  if (std::isinf(x)) return x > 0 ? ".inf" : "-.inf";
  char text[32];
  std::snprintf(text, sizeof text, "%.12g", x);
  return text;
}

std::string quoted(const std::string& text) { return "'" + text + "'"; }

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

std::string tolerance_text(const Tolerance& t) {
  const char* worse[] = {"either", "higher", "lower"};
  if (t.exact) return concat("{exact: true, worse: ", worse[static_cast<int>(t.worse)], "}");
  return concat("{absolute: ", number(t.absolute), ", relative: ", number(t.relative),
                ", worse: ", worse[static_cast<int>(t.worse)], "}");
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
  for (const std::string& layer : node.at("layers").keys()) {
    const Yaml columns = node.at("layers").at(layer);
    for (const std::string& metric : columns.keys()) {
      int head = 0;  // one value a head, in order
      for (const Yaml& value : columns.at(metric).items())
        run.heads[{std::atoi(layer.c_str()), head++}][metric] = read_number(value);
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
    for (const RowRecord& row : run.rows) {
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
      root.at("tolerances").at(metric).fail("no metric is called '" + metric + "'");
    b.tolerances[metric] = read_tolerance(root.at("tolerances").at(metric));
  }
  for (const std::string& key : root.at("runs").keys())
    b.runs[key] = read_run(root.at("runs").at(key));
  return b;
}

void Baseline::save(const std::string& file) const {
  std::string text = concat(
      "# Written by `doublep check --update`. Tolerances may be edited by hand: a value passes "
      "where it\n"
      "# moved by no more than absolute + relative * |baseline|; exact ones may not move at all.\n"
      "format: doublep-baseline-1\nconfig_hash: '",
      config_hash, "'\ncommit: ", quoted(commit), "\ncreated: ", quoted(created),
      "\ntolerances:\n");
  for (const auto& [name, unused] : gate_metrics())
    text += concat("  ", name, ": ", tolerance_text(tolerances.at(name)), "\n");
  text += "config: |\n";
  for (std::size_t i = 0; i < config.size();) {
    const auto end = config.find('\n', i);
    text += "  " + config.substr(i, end - i) + "\n";
    i = end == std::string::npos ? config.size() : end + 1;
  }
  text += "runs:\n";
  for (const auto& [key, run] : runs) {
    text += concat("  '", key, "':\n    policy: ", run.policy, "\n    label: ", quoted(run.label),
                   "\n    parameters: ", quoted(run.parameters),
                   "\n    trace: ", quoted(run.trace_name), "\n    trace_hash: '", run.trace_hash,
                   "'\n    layers:\n");
    for (auto it = run.heads.begin(); it != run.heads.end();) {
      const int layer = it->first.first;
      auto end = it;
      while (end != run.heads.end() && end->first.first == layer) ++end;
      text += concat("      ", layer, ":\n");
      for (const auto& [metric, unused] : gate_metrics()) {
        text += concat("        ", metric, ": [");
        for (auto head = it; head != end; ++head)
          text += (head == it ? "" : ", ") + number(head->second.at(metric));
        text += "]\n";
      }
      it = end;
    }
  }
  write_output(file, text);
}

}  // namespace doublep
