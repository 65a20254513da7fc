#include "experiments/shards/merge.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "experiments/commands/commands.h"
#include "experiments/commands/sweep_options.h"

namespace doublep {

void add_merge(CLI::App& app) {
  struct Options {
    std::vector<std::string> files;
    std::string output;
    bool any_program = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("merge", "Put the shards of a sweep together to its result");
  command->footer(
      "Example: doublep merge results/default.h5.shards/*.h5 -o results/default.h5\n"
      "Every shard is wanted, once, of one configuration and one build; the files stay.");
  command->add_option("files", options->files, "result files of `doublep run --shard`")->required();
  command->add_option("-o,--output", options->output, "result file")->required();
  command->add_flag("--any-program", options->any_program,
                    "take shards that different builds of this program computed");
  command->callback([options] {
    const std::size_t runs = merge_shards(options->files, options->output, options->any_program);
    std::cout << runs << " runs of " << options->files.size() << " shards in " << options->output
              << "\n";
    fail_on_overflow(options->output);
  });
}

}  // namespace doublep
