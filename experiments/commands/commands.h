// The subcommands of the program, one file each. A callback does the work and throws InputError for
// bad input.
#pragma once

#include <CLI/CLI.hpp>

namespace doublep {

void add_synth(CLI::App& app);
void add_inspect(CLI::App& app);

}  // namespace doublep
