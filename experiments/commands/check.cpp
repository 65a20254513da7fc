#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>

#include "core/base/error.h"
#include "core/base/output.h"
#include "experiments/commands/commands.h"
#include "experiments/gate/gate.h"

namespace doublep {
namespace {

struct Options {
  std::string result, baseline;
  bool update = false;
  std::size_t limit = 40;
};

void execute(const Options& options) {
  if (options.update) check_output(options.baseline, OutputForm::kFile, {options.result});
  Baseline now = Baseline::of(ResultFile::load(options.result));
  if (options.update) {
    std::error_code unreadable;
    if (std::filesystem::exists(options.baseline, unreadable))  // tolerances set by hand stay
      now.tolerances = Baseline::load(options.baseline).tolerances;
    now.save(options.baseline);
    std::cout << options.baseline << ": written, " << now.runs.size() << " runs\n";
    return;
  }
  const Comparison comparison = compare(now, Baseline::load(options.baseline));
  print(comparison, options.limit, std::cout);
  if (const int code = comparison.exit_code()) throw ExitWith{code};
}

}  // namespace

void add_check(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("check", "Compare a result with a baseline (regression gate)");
  command->footer(
      "Exit codes: 0 same, 1 regression, 2 cannot compare (another trace or\n"
      "configuration, missing runs, a file that is no result or baseline).");
  command->add_option("result", options->result, "result file of `doublep run`")->required();
  command->add_option("--baseline", options->baseline, "baseline file, YAML")->required();
  command->add_flag("--update", options->update, "write the result as the new baseline");
  command->add_option("--limit", options->limit, "lines of the table of what moved");
  command->callback([options] { execute(*options); });
}

}  // namespace doublep
