#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iomanip>
#include <map>
#include <sstream>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/yaml/yaml.h"
#include "experiments/config/emit.h"
#include "experiments/tune/tuning.h"

namespace doublep {
namespace {

constexpr double kMiB = 1024.0 * 1024.0;

// Per layer where it is there at all (it is kept only where it is cheaper), unless only the one set
// of parameters meets the target on the steps that judge.
const Choice* chosen(const PolicyTuning& t, const Target& target) {
  if (t.per_layer && t.uniform && !target.met(t.per_layer->heldout.value) &&
      target.met(t.uniform->heldout.value))
    return &*t.uniform;
  return t.per_layer ? &*t.per_layer : t.uniform ? &*t.uniform : nullptr;
}

void print_choice(const char* name, const Choice& c, const ResultFile& result, const Tuning& tuning,
                  std::ostream& out) {
  const Target& target = tuning.target;
  out << "  " << name << ": " << std::setprecision(4) << c.tuning.bytes / kMiB
      << " MiB a layer and step; "
      << "tuning " << c.tuning.value << ", held out " << c.heldout.value
      << (target.met(c.heldout.value) ? " (met, margin " : " (NOT met, margin ")
      << std::setprecision(3) << 100 * target.margin(c.heldout.value) << " %), held-out bytes "
      << std::setprecision(4) << c.heldout.bytes / kMiB << " MiB\n";
  const Beside there = beside(c, result, tuning.holdout);
  out << std::setprecision(3) << "      there output error is " << there.error
      << " on average, 95th percentile " << there.error_p95 << ", worst head "
      << there.error_worst_head << "; " << there.exact_mass << " of the mass is attended exactly\n";
  std::map<std::string, std::string> layers_by_label;
  for (std::size_t l = 0; l < c.layers.size(); ++l) {
    std::string& layers = layers_by_label[result.runs[c.runs[l]].label];
    layers += concat(layers.empty() ? "" : ", ", c.layers[l]);
  }
  for (const auto& [label, layers] : layers_by_label)
    out << "      " << printable(label) << "   (layers " << layers << ")\n";
  if (c.bytes_at_least < c.tuning.bytes)
    out << "      too many combinations to try: the cheapest may read up to "
        << std::setprecision(2) << 100 * (1 - c.bytes_at_least / c.tuning.bytes) << " % less\n";
}

// Where the traces lie, by hash: the configuration of the result says so.
std::map<std::string, std::string> trace_paths(const ResultFile& result) {
  std::map<std::string, std::string> paths;
  for (const auto& trace : YAML::Load(result.config)["traces"])
    if (trace.IsMap() && trace["hash"] && trace["path"])
      paths.emplace(trace["hash"].as<std::string>(),
                    std::filesystem::weakly_canonical(trace["path"].as<std::string>()).string());
  return paths;
}

}  // namespace

std::size_t num_chosen(const std::vector<PolicyTuning>& all) {
  return std::count_if(all.begin(), all.end(),
                       [](const PolicyTuning& t) { return t.uniform || t.per_layer; });
}

void print_tuning(const std::vector<PolicyTuning>& all, const ResultFile& result,
                  const Tuning& tuning, std::ostream& out) {
  out << "target: " << tuning.target.text() << "; judged on "
      << (tuning.holdout.spread ? "every so many steps, " : "the last steps, ")
      << std::lround(100 * tuning.holdout.share) << " % of them, which the choice did not see";
  if (tuning.safety > 0)
    out << "; bound tightened by " << 100 * tuning.safety << " % for the choice";
  out << "\n";
  for (const PolicyTuning& t : all) {
    out << "\n"
        << printable(result.trace_name(t.trace)) << ", " << t.policy << " (" << t.candidates
        << " candidates)\n";
    if (t.uniform) print_choice("one set of parameters", *t.uniform, result, tuning, out);
    if (t.per_layer) print_choice("parameters per layer", *t.per_layer, result, tuning, out);
    if (t.per_layer && t.uniform)
      out << "  per layer saves " << std::setprecision(3)
          << 100 * (1 - t.per_layer->tuning.bytes / t.uniform->tuning.bytes) << " % of the bytes"
          << (chosen(t, tuning.target) == &*t.uniform ? ", but only one set meets the target\n"
                                                      : "\n");
    if (!chosen(t, tuning.target))
      out << "  no candidate meets the target; the closest reaches " << std::setprecision(4)
          << t.closest << ": widen the lists\n";
    out << "  Pareto front on the held-out steps:\n";
    for (std::size_t i = 0; i < t.front.size(); ++i)
      out << "    " << std::fixed << std::setprecision(4) << std::setw(10)
          << t.front_scores[i].bytes / kMiB << " MiB  " << std::setw(9) << t.front_scores[i].value
          << std::defaultfloat
          << (tuning.target.met(t.front_scores[i].value) ? "  met  " : "       ")
          << result.runs[t.front[i]].label << "\n";
  }
}

std::string tuning_yaml(const std::vector<PolicyTuning>& all, const ResultFile& result,
                        const Tuning& tuning) {
  const auto paths = trace_paths(result);
  YamlWriter out;
  out.comment("Written by `doublep tune`.").map();
  out.entry("target", tuning.target.text());
  out.entry("seed", static_cast<std::int64_t>(tuning.sweep.seeds.front()));
  out.entry("kv_dtype", std::string(name_of(tuning.sweep.kv_dtype)));
  out.entry("target_mass", tuning.sweep.replay.target_mass).key("tuned").list();
  for (const PolicyTuning& t : all) {
    const Choice* c = chosen(t, tuning.target);
    if (!c) continue;
    const StoredTrace& trace = result.traces[t.trace];
    out.map().entry("trace", trace.name).entry("trace_hash", trace.hash);
    if (const auto path = paths.find(trace.hash); path != paths.end())
      out.entry("trace_path", path->second);
    out.entry("policy", t.policy).entry("backend", result.runs[c->runs[0]].backend);
    out.key("heldout").map(YamlWriter::kFlow).entry("value", c->heldout.value);
    out.entry("bytes_per_layer_and_step", std::int64_t{std::llround(c->heldout.bytes)});
    out.entry("met", tuning.target.met(c->heldout.value)).end();
    out.key("layers").map();
    for (std::size_t l = 0; l < c->layers.size(); ++l) {
      out.key(c->layers[l]).map(YamlWriter::kFlow);
      const StoredRun& run = result.runs[c->runs[l]];
      const Yaml parameters = Yaml::parse(run.parameters, result.path + ": " + run.label);
      for (const std::string& name : parameters.keys())
        out.entry(name, parameters.at(name).value());
      out.end();
    }
    out.end().end();
  }
  return out.end().end().text();
}

}  // namespace doublep
