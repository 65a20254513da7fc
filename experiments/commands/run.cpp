#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "core/base/error.h"
#include "core/base/output.h"
#include "core/base/parallel.h"
#include "core/trace/trace.h"
#include "experiments/commands/commands.h"
#include "experiments/commands/sweep_options.h"

namespace doublep {
namespace {

struct Options : SweepOptions {
  std::string output;
  bool dry_run = false;
};

void print_plan(const Sweep& sweep) {
  for (const std::string& trace : sweep.traces)
    for (const RunSpec& run : sweep.runs)
      std::cout << trace << "  " << run.backend << "  " << run.policy << "  "
                << run.parameters.to_json() << "\n";
  std::cout << sweep.traces.size() * sweep.runs.size() << " runs (" << sweep.runs.size()
            << " of policies on " << sweep.traces.size() << " traces), to " << sweep.output << "\n";
  if (sweep.duplicates > 0)
    std::cout << sweep.duplicates << " of the expanded runs stood twice and are done once\n";
}

void execute(const Options& options) {
  Sweep sweep = load_sweep(options.config, options.overrides);
  if (!options.output.empty()) sweep.output = options.output;
  check_output(sweep.output, OutputForm::kFile, sweep.inputs);
  if (options.dry_run) return print_plan(sweep);
  set_num_threads(options.jobs);
  const RunnerReport report = run_sweep(sweep, options.runner);
  if (report.interrupted) {
    std::cerr << "interrupted: finished runs are kept in " << sweep.output
              << ".parts; the same command"
              << (options.runner.fresh ? " without --fresh continues there\n"
                                       : " continues there\n");
    throw ExitWith{130};
  }
  std::cout << report.total << " runs (" << report.reused << " were there already) in "
            << sweep.output << "\n";
}

}  // namespace

void add_run(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("run", "Run a sweep: traces x policies x parameter lists");
  command->footer(
      "Finished runs are kept as they come: after an interruption the same command continues.\n"
      "Example: doublep run configs/default.yaml --set double_p.p1=[0.9,0.95] --dry-run");
  options->add_to(*command);
  command->add_option("-o,--output", options->output,
                      "result file (default: the sweep's `output`)");
  command->add_flag("--dry-run", options->dry_run, "print the expanded runs and their count only");
  command->callback([options] { execute(*options); });
}

}  // namespace doublep
