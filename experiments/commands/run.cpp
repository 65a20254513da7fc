#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <optional>

#include "core/base/output.h"
#include "core/base/text.h"
#include "experiments/commands/commands.h"
#include "experiments/commands/sweep_options.h"

namespace doublep {
namespace {

struct RunOptions : SweepOptions {
  std::optional<std::string> shard;
};

void execute(RunOptions& options) {
  auto& shard = options.runner.shard;
  if (options.shard) shard = parse_shard(*options.shard);
  Sweep sweep = load_sweep(options.config, options.overrides, options.any_number);
  if (shard) sweep.output = shard_path(sweep.output, *shard);
  if (!options.output.empty()) sweep.output = options.output;
  check_output(sweep.output, OutputForm::kFile, sweep.inputs);
  if (options.dry_run) return print_plan(sweep, shard);
  const RunnerReport report = run_or_exit(sweep, options);
  std::cout << report.total << " runs (" << report.reused << " were there already) in "
            << sweep.output << "\n";
  if (sweep.skipped > 0)
    std::cout << sweep.skipped << " impossible combinations were skipped (skip_invalid)\n";
  fail_on_overflow(sweep.output);
}

}  // namespace

void add_run(CLI::App& app) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "Run a sweep: traces x policies x parameter lists");
  command->footer(
      "Finished runs are kept as they come: after an interruption the same command continues.\n"
      "Example: doublep run configs/default.yaml --set double_p.p1=[0.9,0.95] --dry-run");
  options->add_to(*command, "result file (default: the sweep's `output`)");
  options->add_fresh(*command);
  command
      ->add_option("--shard", options->shard,
                   "i/n: only the i-th of n parts of about equal cost, to "
                   "OUTPUT.shards/i-of-n.h5 if not to -o; `doublep merge` puts them together")
      ->allow_extra_args(false);
  command->callback([options] { execute(*options); });
}

}  // namespace doublep
