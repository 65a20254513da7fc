#include <CLI/CLI.hpp>
#include <cmath>
#include <iostream>
#include <memory>
#include <optional>

#include "core/base/output.h"
#include "core/base/text.h"
#include "experiments/commands/commands.h"
#include "experiments/commands/sweep_options.h"
#include "experiments/results/result_reader.h"

namespace doublep {
namespace {

// The first row whose error or mass is no finite number, in words; "" where there is none.
std::string find_overflow(const ResultFile& result) {
  std::size_t count = 0;
  std::string first;
  for (const StoredRun& run : result.runs)
    for (const Row& row : run.rows) {
      if (std::isfinite(row.output_error + row.exact_mass + row.covered_mass)) continue;
      if (count++ == 0)
        first = concat(result.trace_name(run.trace), ", ", run.label, ", layer ", row.layer,
                       ", head ", row.head, ", step ", row.step);
    }
  return count == 0
             ? ""
             : concat(first, ": the output error or mass is no finite number (", count,
                      count == 1 ? " row" : " rows", "): arithmetic on this trace overflowed");
}

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
  if (const std::string row = find_overflow(ResultFile::load(sweep.output)); !row.empty()) {
    std::cerr << "doublep: " << printable(row)
              << "; look for outsized keys, queries and values in it" << std::endl;
    throw ExitWith{1};
  }
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
