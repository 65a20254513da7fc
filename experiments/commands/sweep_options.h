// The options that `run` and `tune` share: where runs come from and what is reused.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "experiments/run/runner.h"

namespace doublep {

struct SweepOptions {
  std::string config;
  std::vector<std::string> overrides;
  int jobs = 0;
  RunnerOptions runner;

  void add_to(CLI::App& command) {
    command.add_option("config", config, "the sweep, YAML")->required();
    command
        .add_option("--set", overrides,
                    "override key=value or policy.parameter=value; may be repeated")
        ->expected(1)
        ->take_all()
        ->allow_extra_args(false);
    command.add_option("-j,--jobs", jobs, "threads (0 = all cores)")->check(CLI::Range(0, 4096));
    command.add_flag("--fresh", runner.fresh, "do again what is there already");
    command.add_flag("--any-program", runner.any_program,
                     "take finished runs of another build of this program for its own");
  }
};

}  // namespace doublep
