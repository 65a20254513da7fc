// doublep inspect: where the attention mass of a trace lies, and what kind of heads it has.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "core/base/error.h"
#include "core/base/output.h"
#include "core/base/parallel.h"
#include "core/index/cluster_index.h"
#include "core/trace/source.h"
#include "experiments/commands/commands.h"
#include "experiments/inspect/report.h"
#include "experiments/run/progress.h"

namespace doublep {
namespace {

struct Arguments {
  std::string trace, csv, layers;
  int threads = 0;
  InspectOptions options;
};

void inspect(Arguments arguments) {
  if (arguments.options.heads && arguments.options.tokens_per_cluster == 0)
    arguments.options.tokens_per_cluster = ClusteringOptions{}.tokens_per_cluster;
  if (arguments.threads > 0) set_num_threads(arguments.threads);
  const Trace trace = Trace::open(arguments.trace);
  if (!arguments.csv.empty())
    check_output(arguments.csv, OutputForm::kStream, trace_files(arguments.trace));
  // The table makes room where the CSV goes to standard output.
  std::ostream& people = arguments.csv == "-" ? std::cerr : std::cout;
  const auto layers = parse_layers(arguments.layers, trace.info());
  trace.require_layers(layers);
  print_summary(trace, people);
  std::vector<HeadStatistics> heads;
  {
    Progress progress(layers.size(), static_cast<double>(layers.size()));
    for (int layer : layers) {
      progress.begin(concat("layer ", layer), 1);
      progress.update(0);
      const auto rows = inspect_layer(trace, layer, arguments.options,
                                      [&](double done) { progress.update(done); });
      heads.insert(heads.end(), rows.begin(), rows.end());
      progress.end();
    }
  }
  people << "  tokens that hold 80, 95, 99 % of the mass; sink: the first "
         << arguments.options.sink << "; window: the last\n    " << arguments.options.window
         << "; max: weight of one; effect.: exp(entropy); means over steps\n\n";
  print_table(heads, people);
  if (arguments.options.heads) {
    people << '\n';
    print_kinds(heads, people);
  }
  if (!arguments.csv.empty()) write_inspect_csv(heads, arguments.options.heads, arguments.csv);
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("inspect", "Show a trace's shape and where its mass lies");
  command->add_option("trace", arguments->trace, "kv-trace file, or a folder of tensors")
      ->required();
  command->add_option("--layers", arguments->layers, "only these, for example 0,2-4");
  command->add_option("--csv", arguments->csv,
                      "also write the table, with every digit, to this file; - is standard output");
  InspectOptions& options = arguments->options;
  command->add_option("--sink", options.sink, "tokens counted as sink")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->add_option("--window", options.window, "latest tokens counted as window")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--max-steps", options.max_steps,
                   "at most so many steps, evenly spaced; 0 = all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--tokens-per-cluster", options.tokens_per_cluster,
                   "cluster the keys too, for the column jensen (estimated over true mass); 0 = no")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--heads", options.heads,
                    "also what kind of heads they are: spread of keys within clusters (of 16, or "
                    "--tokens-per-cluster), directions and drift of queries, which estimate holds");
  command->add_option("--threads", arguments->threads, "0 = all cores")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->callback([arguments] { inspect(*arguments); });
}

}  // namespace doublep
