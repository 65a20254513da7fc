// The subcommand `doublep bench`; only in programs built with CUDA.
#pragma once

namespace CLI {
class App;
}

namespace doublep {

void add_bench(CLI::App& app);

}  // namespace doublep
