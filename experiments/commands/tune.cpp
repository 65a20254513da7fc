#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>

#include "core/base/output.h"
#include "experiments/commands/commands.h"
#include "experiments/commands/sweep_options.h"
#include "experiments/tune/tuning.h"

namespace doublep {
namespace {

void execute(const SweepOptions& options) {
  const Tuning tuning = load_tuning(options.config, options.overrides, options.any_number);
  check_output(tuning.sweep.output, OutputForm::kFile, tuning.sweep.inputs);
  if (!options.output.empty()) {
    auto others = tuning.sweep.inputs;
    others.push_back(tuning.sweep.output);
    check_output(options.output, OutputForm::kStream, others);
  }
  if (options.dry_run) return print_plan(tuning.sweep);
  run_or_exit(tuning.sweep, options);
  const ResultFile result = ResultFile::load(tuning.sweep.output);
  const auto all = tune(result, tuning);
  // The report makes room where the YAML goes to standard output.
  print_tuning(all, result, tuning, options.output == "-" ? std::cerr : std::cout);
  if (num_chosen(all) == 0) {
    std::cerr << "doublep: no candidate meets the target";
    if (!options.output.empty())
      std::cerr << "; " << options.output
                << (std::filesystem::exists(options.output) ? " is left as it was before this run"
                                                            : " is not written");
    std::cerr << std::endl;
    throw ExitWith{1};
  }
  if (options.output.empty()) return;
  write_output(options.output, tuning_yaml(all, result, tuning));
}

}  // namespace

void add_tune(CLI::App& app) {
  auto options = std::make_shared<SweepOptions>();
  CLI::App* command = app.add_subcommand(
      "tune", "Find the cheapest parameters of a policy that meet a target, by bytes read");
  command->footer(
      "The configuration is a sweep (its lists are the candidates) with a target:\n"
      "  target: {metric: output_error, at_most: 0.05}\n"
      "  target: {metric: output_error, percentile: 95, at_most: 0.1}\n"
      "  target: {metric: exact_mass, at_least: 0.9}\n"
      "  target: {metric: covered_mass, percentile: 5, at_least: 0.95}\n"
      "  target: {metric: violation_rate, at_most: 0.02, mass: 0.95}\n"
      "  target: {metric: error_violation_rate, at_most: 0.05, error: 0.05}\n"
      "  holdout: 0.5     share of the steps that judge the choice\n"
      "  holdout_steps: last | spread\n"
      "  safety: 0.1      choose against a bound tightened by this share\n"
      "  per_layer: true  also look for parameters per layer\n"
      "The choice is the cheapest there is among all combinations, or the output says how far it\n"
      "may be from it. Exit code 1, and no file: no candidate meets the target.");
  options->add_to(*command, "write the chosen parameters as YAML; - is standard output");
  options->add_fresh(*command);
  command->callback([options] { execute(*options); });
}

}  // namespace doublep
