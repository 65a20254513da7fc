// The benchmark as a program of its own, for machines without the libraries of the other commands.
#include <CLI/CLI.hpp>
#include <iostream>

#include "experiments/commands/commands.h"

int main(int argc, char** argv) {
  CLI::App app{"doublep_bench: the subcommand `doublep bench` alone"};
  app.require_subcommand(1);
  doublep::add_bench(app);
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const std::exception& e) {
    std::cerr << "doublep_bench: " << e.what() << std::endl;
    return 2;
  }
}
