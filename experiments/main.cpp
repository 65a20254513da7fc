// The program `doublep`: parses the command line, turns errors into one line and an exit code.
#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>

#include "core/base/error.h"
#include "experiments/commands/commands.h"
#ifdef DOUBLEP_WITH_CUDA
#include "experiments/bench/command.h"
#endif
#ifdef DOUBLEP_HAVE_SIM
#include "experiments/simulate/command.h"
#endif

int main(int argc, char** argv) {
  using namespace doublep;
  CLI::App app{
      "doublep: which sparse attention for long-context decoding, and at what cost.\n"
      "Replays recorded query/KV traces through attention policies and measures mass, error and "
      "cost."};
  app.require_subcommand(1);
  app.set_help_all_flag("--help-all", "help of every subcommand");
  app.footer(
      "Exit codes: 0 success, 1 a regression, 2 bad input or cannot compare, 130 interrupted.");
  for (auto* add : {add_run, add_validate, add_inspect, add_synth, add_export, add_policies,
                    add_check, add_tune})
    add(app);
#ifdef DOUBLEP_WITH_CUDA
  add_bench(app);
#endif
#ifdef DOUBLEP_HAVE_SIM
  add_simulate(app);
#endif
  try {
    app.parse(argc, argv);
    if (!std::cout.flush()) {
      std::cerr << "doublep: standard output: writing failed; is the disk full?" << std::endl;
      return 2;
    }
    return 0;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const ExitWith& e) {
    return e.code;
  } catch (const InputError& e) {
    std::cerr << "doublep: " << e.what() << std::endl;
    return 2;
  } catch (const std::bad_alloc&) {
    std::cerr << "doublep: out of memory; use a shorter trace or fewer layers" << std::endl;
    return 2;
  } catch (const std::exception& e) {
    std::cerr << "doublep: unexpected: " << e.what() << std::endl;
    return 3;
  }
}
