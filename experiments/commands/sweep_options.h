// What `run` and `tune` share: options, the plan that --dry-run prints, the run itself.
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

  void add_to(CLI::App& command, const std::string& output_help);
};

/// One line a run, their number, and what was left out.
void print_plan(const Sweep& sweep);

/// Runs it; where it was interrupted, says how it continues and throws ExitWith{130}.
RunnerReport run_or_exit(const Sweep& sweep, const SweepOptions& options);

}  // namespace doublep
