// What `run`, `tune` and `submit` share: options, the plan that --dry-run prints, the run itself.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "experiments/run/runner.h"

namespace doublep {

struct SweepOptions {
  std::string config, output;
  std::vector<std::string> overrides;
  int jobs = 0;
  bool any_number = false, dry_run = false;
  RunnerOptions runner;

  /// All but --fresh, which means nothing to who leaves the work to others.
  void add_to(CLI::App& command, const std::string& output_help);
  void add_fresh(CLI::App& command);
  /// What others need to be told to do the same with the configuration, less output and threads.
  std::vector<std::string> words() const;
};

/// One line a run, their number, and what was left out; of a shard, its own runs.
void print_plan(const Sweep& sweep, const std::optional<Shard>& shard = {});

/// Runs it; where it was interrupted, says how it continues and throws ExitWith{130}.
RunnerReport run_or_exit(const Sweep& sweep, const SweepOptions& options);

/// Where a row of a finished result has an error or mass that is no finite number, says where and
/// throws ExitWith{1}.
void fail_on_overflow(const std::string& result_file);

}  // namespace doublep
