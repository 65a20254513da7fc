// The subcommand `doublep simulate`.
#pragma once

namespace CLI {
class App;
}

namespace doublep {
void add_simulate(CLI::App& app);
}
