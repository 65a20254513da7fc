#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "core/base/output.h"
#include "core/base/parallel.h"
#include "core/base/text.h"
#include "experiments/commands/commands.h"
#include "experiments/simulate/simulation.h"
#include "sim/profile/profile.h"

namespace doublep {
namespace {

struct Options {
  std::string config, output, record;
  std::vector<std::string> overrides;
  bool dry_run = false, any_number = false;
  int jobs = 0;
};

void print_plan(const sim::SimulationPlan& plan) {
  for (const sim::Study& study : plan.studies) {
    std::cout << study.name << ": " << study.hardware.size() << " machines x "
              << study.what_if.size() << " what-ifs x " << study.models.size() << " models x "
              << plan.workloads.size() << " workloads x " << plan.policies.size() << " policies x "
              << study.points.size() << " decode points";
    if (study.serving) std::cout << " and " << study.serving->rates.size() << " serving runs";
    if (study.crossover) std::cout << " and " << study.crossover->points.size() << " crossovers";
    if (study.answers)
      std::cout << " and " << study.answers->points.size() * study.answers->tokens.size()
                << " answers";
    std::cout << "\n";
  }
  std::cout << plan.num_points() << " points, to " << plan.output << "\n";
}

void execute(const Options& options) {
  sim::SimulationPlan plan = sim::load_plan(options.config, options.overrides, options.any_number);
  if (!options.output.empty()) plan.output = options.output;
  if (options.record.empty()) make_folder_of(plan.output);
  std::vector<std::string> outputs = {plan.output};
  if (!options.record.empty()) {
    outputs.clear();
    for (const sim::WorkloadPlan& w : plan.workloads)
      outputs.push_back(options.record + "/" + w.name + ".tsv");
  }
  for (const std::string& output : outputs)
    check_output(output, OutputForm::kStream, plan.inputs());
  if (options.dry_run) return print_plan(plan);
  set_num_threads(options.jobs);
  const auto note = [](const std::string& text) { std::cerr << printable(text) << std::endl; };
  if (!options.record.empty()) {
    const auto profiles = sim::collect_profiles(plan, note);
    for (std::size_t w = 0; w < profiles.size(); ++w) {
      const std::string& file = outputs[w];
      sim::write_profiles(file, profiles[w]);
      std::cout << profiles[w].size() << " profiles in " << file << "\n";
    }
    return;
  }
  const sim::SimulationResult result = sim::simulate(plan, note);
  if (const std::string place = sim::find_overflow(result); !place.empty()) {
    std::cerr << "doublep: " << place << ": the prediction is no finite number; look for figures "
              << "too large or too small in the profiles, hardware and model: nothing is written"
              << std::endl;
    throw ExitWith{1};
  }
  sim::write_simulation(plan.output, plan, result);
  // The tables make room where the result goes to standard output.
  std::ostream& people = plan.output == "-" ? std::cerr : std::cout;
  sim::print_simulation(result, people);
  people << "\n" << plan.num_points() << " points in " << plan.output << "\n";
}

}  // namespace

void add_simulate(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "simulate", "Predict decode time, memory and serving on machines and models you do not have");
  command->footer(
      "Work is what the policies did on traces or recorded profiles; times are a calibrated\n"
      "roofline. What lies outside of measured ranges is marked.\n"
      "Example: doublep simulate configs/simulate.yaml --set decode.batch=[1,8] --dry-run");
  command->add_option("config", options->config, "what to simulate, YAML")->required();
  command->add_option("-o,--output", options->output, "result file (default: the `output` key)");
  command->add_option("--set", options->overrides, "override key=value; may be repeated")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  command->add_option(
      "--record", options->record,
      "profile the workloads' traces into this folder, a file each, and do nothing else");
  command->add_flag("--dry-run", options->dry_run,
                    "print the studies and the number of points only");
  command->add_flag("--yes", options->any_number, "do more than 100000 points");
  command->add_option("-j,--jobs", options->jobs, "threads (0 = all cores)")
      ->check(CLI::Range(0, kMaxThreads));
  command->callback([options] { execute(*options); });
}

}  // namespace doublep
