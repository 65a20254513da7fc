#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/trace/recorded_outputs.h"
#include "core/trace/trace.h"
#include "experiments/commands/commands.h"
#include "experiments/config/entry.h"
#include "experiments/gate/gate.h"
#include "experiments/run/runner.h"
#include "experiments/tune/tuning.h"
#ifdef DOUBLEP_HAVE_SIM
#include "experiments/simulate/inputs.h"
#include "experiments/simulate/plan.h"
#include "sim/profile/profile.h"
#endif

namespace doublep {
namespace {

// Bytes of a trace that are held beside the layer at work: each layer is looked at once, so that
// there is nothing to gain.
constexpr std::int64_t kHeld = 0;

struct Options {
  std::vector<std::string> paths;
  bool allow_mismatch = false;
};

// Says what the trace is, once its layers (those named, or all) and their outputs are found right.
void check_trace(const Trace& trace, const std::vector<int>& chosen, bool allow_mismatch) {
  const TraceInfo& info = trace.info();
  const std::vector<int>& layers = chosen.empty() ? info.layers : chosen;
  trace.require_layers(layers);
  std::size_t agree = 0;
  for (int layer : layers) {
    const TraceLayer data = trace.read_layer(layer);
    if (data.outputs.empty()) continue;
    const double mismatch = output_mismatch(trace, data);
    judge_mismatch(trace, layer, mismatch, allow_mismatch);
    agree += mismatch <= kOutputTolerance;
  }
  std::cout << printable(info.path) << ": a valid trace: " << info.num_tokens << " tokens, "
            << info.num_steps() << " steps, " << info.layers.size() << " layers, "
            << info.num_query_heads << " query heads, " << info.num_kv_heads << " KV heads of "
            << info.head_dim;
  if (agree > 0) std::cout << "; recorded outputs agree in " << agree << " of them";
  std::cout << "\n";
}

void validate_runs(const Sweep& sweep, const char* kind, bool allow_mismatch) {
  for (const RunSpec& run : sweep.runs) decoder_factory(sweep, run);
  for (const Trace& trace : open_traces(sweep, kHeld))
    check_trace(trace, sweep.replay.layers, allow_mismatch);
  std::cout << sweep.path << ": a valid " << kind << " of "
            << sweep.runs.size() * sweep.traces.size() << " runs\n";
}

#ifdef DOUBLEP_HAVE_SIM
void validate_simulation(const std::string& path, bool allow_mismatch) {
  const sim::SimulationPlan plan = sim::load_plan(path);
  for (const sim::WorkloadPlan& workload : plan.workloads) {
    for (const std::string& trace : workload.traces)
      check_trace(Trace::open(trace, kHeld), {}, allow_mismatch);
    for (const std::string& profiles : workload.profiles) sim::read_profiles(profiles);
  }
  std::cout << path << ": a valid simulation of " << plan.num_points() << " points\n";
}
#endif

// The keys tell what a configuration is for.
void validate_yaml(const std::string& path, bool allow_mismatch) {
  const Yaml root = Yaml::load(path);
  if (root.has("tuned")) {
    const std::size_t count = read_choices(root).size();
    std::cout << path << ": a valid file of `doublep tune`, of " << count << " choices\n";
    return;
  }
  if (root.has("tensors")) {  // the description of a folder
    const std::string folder = std::filesystem::path(path).parent_path().string();
    return check_trace(Trace::open(folder.empty() ? "." : folder, kHeld), {}, allow_mismatch);
  }
  if (root.has("target"))  // what tune wrote names its own, too
    return validate_runs(load_tuning(path, {}).sweep, "tuning", allow_mismatch);
  if (root.has("format") && root.has("tolerances")) {
    const std::size_t count = Baseline::load(path).runs.size();
    std::cout << path << ": a valid baseline of " << count << " runs\n";
    return;
  }
#ifdef DOUBLEP_HAVE_SIM
  if (root.has("workloads") || root.has("studies"))
    return validate_simulation(path, allow_mismatch);
  if (root.has("memory_bandwidth_gbs")) {
    const std::string name = sim::load_hardware(path).name;
    std::cout << path << ": a valid description of the machine " << printable(name) << "\n";
    return;
  }
  if (root.has("vocabulary")) {
    const std::string name = sim::load_model(path).name;
    std::cout << path << ": a valid description of the model " << printable(name) << "\n";
    return;
  }
#endif
  validate_runs(load_sweep(path), "sweep", allow_mismatch);
}

void validate(const std::string& path, bool allow_mismatch) {
  const std::string suffix = std::filesystem::path(path).extension().string();
  suffix == ".yaml" || suffix == ".yml" ? validate_yaml(path, allow_mismatch)
                                        : check_trace(Trace::open(path, kHeld), {}, allow_mismatch);
}

// All of them, whatever is wrong with one.
void execute(const Options& options) {
  if (options.paths.size() == 1) return validate(options.paths[0], options.allow_mismatch);
  int code = 0;
  for (const std::string& path : options.paths) {
    try {
      validate(path, options.allow_mismatch);
    } catch (const InputError& e) {
      std::cout.flush();
      std::cerr << "doublep: " << printable(e.what()) << std::endl;
      code = 2;
    }
  }
  if (code != 0) throw ExitWith{code};
}

}  // namespace

void add_validate(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("validate", "Check configurations and traces, without running anything");
  command->footer(
      "A configuration (.yaml, .yml) is told by its keys: a sweep, a tuning, a simulation, what\n"
      "`tune` wrote, a baseline, a machine, a model. With it the traces that it names are "
      "checked.\n"
      "Anything else is a trace: a file, or a folder of tensors.");
  command->add_option("file", options->paths, "one or several")->required();
  command->add_flag("--allow-mismatch", options->allow_mismatch,
                    "recorded outputs that are not those of dense attention are a warning only");
  command->callback([options] { execute(*options); });
}

}  // namespace doublep
