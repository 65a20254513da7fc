// What makes a run, and a sweep, the same as another.
#include "core/base/error.h"
#include "core/base/hash.h"
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

std::string run_line(const RunSpec& run) {
  return concat("  - {policy: ", run.policy, ", backend: ", run.backend,
                ", parameters: ", run.parameters_json(), "}\n");
}

}  // namespace

std::string run_key(const Sweep& sweep, const RunSpec& run, const std::string& trace_hash) {
  return Hasher().add(settings(sweep, {run.seed})).add(run_line(run)).add(trace_hash).hex();
}

std::string resolved_config(const Sweep& sweep, const std::vector<std::string>& trace_hashes) {
  std::string text = concat("name: ", sweep.name, "\n", settings(sweep, sweep.seeds), "traces:\n");
  for (std::size_t i = 0; i < sweep.traces.size(); ++i)
    text += concat("  - {path: \"", sweep.traces[i], "\", hash: \"", trace_hashes[i], "\"}\n");
  text += "runs:\n";
  for (const RunSpec& run : sweep.runs) text += run_line(run);
  return text;
}

std::string config_hash(const Sweep& sweep, const std::vector<std::string>& trace_hashes) {
  Hasher hasher;
  hasher.add(settings(sweep, sweep.seeds));
  for (const std::string& hash : trace_hashes) hasher.add(hash);
  for (const RunSpec& run : sweep.runs) hasher.add(run_line(run));
  return hasher.hex();
}

}  // namespace doublep
