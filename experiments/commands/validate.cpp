#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/trace/trace.h"
#include "experiments/commands/commands.h"
#include "experiments/config/entry.h"
#include "experiments/gate/baseline.h"
#include "experiments/run/runner.h"
#include "experiments/tune/tuning.h"
#ifdef DOUBLEP_HAVE_SIM
#include "experiments/simulate/describe.h"
#include "experiments/simulate/plan.h"
#include "sim/profile/profile_file.h"
#endif

namespace doublep {
namespace {

void describe(const Trace& trace) {
  const TraceInfo& info = trace.info();
  std::cout << info.path << ": a valid trace: " << info.num_tokens << " tokens, "
            << info.num_steps() << " steps, " << info.layers.size() << " layers, "
            << info.num_query_heads << " query heads, " << info.num_kv_heads << " KV heads of "
            << info.head_dim << "\n";
}

void validate_runs(const Sweep& sweep, const char* kind) {
  for (const RunSpec& run : sweep.runs) decoder_factory(sweep, run);
  for (const Trace& trace : open_traces(sweep)) describe(trace);
  std::cout << sweep.path << ": a valid " << kind << " of "
            << sweep.runs.size() * sweep.traces.size() << " runs\n";
}

#ifdef DOUBLEP_HAVE_SIM
void validate_simulation(const std::string& path) {
  const sim::SimulationPlan plan = sim::load_plan(path);
  for (const sim::WorkloadPlan& workload : plan.workloads) {
    for (const std::string& trace : workload.traces) describe(Trace::open(trace));
    for (const std::string& profiles : workload.profiles) sim::read_profiles(profiles);
  }
  std::cout << path << ": a valid simulation of " << plan.num_points() << " points\n";
}
#endif

// The keys tell what a configuration is for.
void validate_yaml(const std::string& path) {
  const Yaml root = Yaml::load(path);
  if (root.has("target")) return validate_runs(load_tuning(path, {}).sweep, "tuning");
  if (root.has("tuned")) {
    const std::size_t count = read_tuned(root).size();
    std::cout << path << ": a valid file of `doublep tune`, of " << count << " choices\n";
    return;
  }
  if (root.has("format") && root.has("tolerances")) {
    const std::size_t count = Baseline::load(path).runs.size();
    std::cout << path << ": a valid baseline of " << count << " runs\n";
    return;
  }
#ifdef DOUBLEP_HAVE_SIM
  if (root.has("workloads") || root.has("studies")) return validate_simulation(path);
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
  validate_runs(load_sweep(path), "sweep");
}

void validate(const std::string& path) {
  const std::string suffix = std::filesystem::path(path).extension().string();
  suffix == ".yaml" || suffix == ".yml" ? validate_yaml(path) : describe(Trace::open(path));
}

// All of them, whatever is wrong with one.
void execute(const std::vector<std::string>& paths) {
  if (paths.size() == 1) return validate(paths[0]);
  int code = 0;
  for (const std::string& path : paths) {
    try {
      validate(path);
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
  auto paths = std::make_shared<std::vector<std::string>>();
  CLI::App* command =
      app.add_subcommand("validate", "Check configurations and traces, without running anything");
  command->footer(
      "A configuration (.yaml, .yml) is told by its keys: a sweep, a tuning, a simulation, what\n"
      "`tune` wrote, a baseline, a machine, a model. With it the traces that it names are "
      "checked.\n"
      "Anything else is a trace.");
  command->add_option("file", *paths, "one or several")->required();
  command->callback([paths] { execute(*paths); });
}

}  // namespace doublep
