// The subcommands of `doublep`. Each registers itself; its callback does the work, throws
// InputError on bad input and ExitWith for an exit code that is neither success nor bad input.
#pragma once

namespace CLI {
class App;
}

namespace doublep {

struct ExitWith {
  int code;
};

void add_run(CLI::App& app);
void add_validate(CLI::App& app);
void add_inspect(CLI::App& app);
void add_synth(CLI::App& app);
void add_export(CLI::App& app);
void add_policies(CLI::App& app);
void add_check(CLI::App& app);
void add_tune(CLI::App& app);
void add_merge(CLI::App& app);
void add_submit(CLI::App& app);
void add_simulate(CLI::App& app);  ///< in programs built with the simulator
void add_bench(CLI::App& app);     ///< in programs built with CUDA

}  // namespace doublep
