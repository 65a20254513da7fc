// What makes a run, and a sweep, the same as another.
#include <sstream>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "experiments/config/emit.h"
#include "experiments/results/result_store.h"

namespace doublep {
namespace {

// Everything but traces and policies that changes rows.
std::string settings(const Sweep& sweep, const std::vector<std::uint64_t>& seeds) {
  std::string seed;
  for (std::uint64_t s : seeds) seed += concat(seed.empty() ? "" : ", ", s);
  if (seeds.size() > 1) seed = "[" + seed + "]";
  std::string layers;
  for (int l : sweep.replay.layers) layers += concat(layers.empty() ? "" : ", ", l);
  return concat("seed: ", seed, "\nkv_dtype: ", name_of(sweep.kv_dtype),
                "\ntarget_mass: ", to_text(ParamValue(sweep.replay.target_mass)),
                "\nreplay: {layers: [", layers, "], every_step: ", sweep.replay.every_step,
                ", max_steps: ", sweep.replay.max_steps, "}\n");
}

constexpr const char *kRuns = "runs:\n", *kItem = "  - ";

std::string run_line(const RunSpec& run) {
  return concat(kItem, "{policy: ", run.policy, ", backend: ", run.backend,
                ", parameters: ", run.parameters_json(), "}\n");
}

}  // namespace

std::string run_key(const Sweep& sweep, const RunSpec& run, const std::string& trace_hash) {
  return Hasher().add(settings(sweep, {run.seed})).add(run_line(run)).add(trace_hash).hex();
}

std::string piece_key(const std::string& run_key, const LayerPart& part) {
  return Hasher()
      .add(concat(run_key, " ", part.layer, " ", part.first_kv_head, " ", part.kv_heads))
      .hex();
}

std::string resolved_config(const Sweep& sweep, const std::vector<std::string>& trace_hashes) {
  YamlWriter yaml;
  yaml.map().entry("name", sweep.name).key("seed");
  const auto seed = [&](std::uint64_t s) { yaml.value(static_cast<std::int64_t>(s)); };
  if (sweep.seeds.size() == 1) {
    seed(sweep.seeds[0]);
  } else {
    yaml.list(YamlWriter::kFlow);
    for (const std::uint64_t s : sweep.seeds) seed(s);
    yaml.end();
  }
  yaml.entry("kv_dtype", std::string(name_of(sweep.kv_dtype)));
  yaml.entry("target_mass", sweep.replay.target_mass);
  yaml.key("replay").map(YamlWriter::kFlow).key("layers").list();
  for (const int layer : sweep.replay.layers) yaml.value(layer);
  yaml.end().entry("every_step", sweep.replay.every_step);
  yaml.entry("max_steps", sweep.replay.max_steps).end();
  yaml.key("traces").list();
  for (std::size_t i = 0; i < sweep.traces.size(); ++i)
    yaml.map(YamlWriter::kFlow).entry("path", sweep.traces[i]).entry("hash", trace_hashes[i]).end();
  std::string text = yaml.end().end().text() + kRuns;
  for (const RunSpec& run : sweep.runs) text += run_line(run);  // JSON, which is YAML too
  return text;
}

std::vector<std::string> listed_runs(const std::string& resolved_config) {
  std::vector<std::string> runs;
  const auto list = resolved_config.find(concat("\n", kRuns));
  if (list == std::string::npos) return runs;
  std::istringstream lines(resolved_config.substr(list));
  for (std::string line; std::getline(lines, line);)
    if (line.rfind(kItem, 0) == 0) runs.push_back(line.substr(std::string(kItem).size()));
  return runs;
}

std::string config_hash(const Sweep& sweep, const std::vector<std::string>& trace_hashes) {
  Hasher hasher;
  hasher.add(settings(sweep, sweep.seeds));
  for (const std::string& hash : trace_hashes) hasher.add(hash);
  for (const RunSpec& run : sweep.runs) hasher.add(run_line(run));
  return hasher.hex();
}

}  // namespace doublep
