#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>

#include "core/base/error.h"
#include "core/trace/trace.h"
#include "experiments/commands/commands.h"
#include "experiments/config/sweep.h"
#include "experiments/run/runner.h"

namespace doublep {
namespace {

void describe(const Trace& trace) {
  const TraceInfo& info = trace.info();
  std::cout << info.path << ": a valid trace: " << info.num_tokens << " tokens, "
            << info.num_steps() << " steps, " << info.layers.size() << " layers, "
            << info.num_query_heads << " query heads, " << info.num_kv_heads << " KV heads of "
            << info.head_dim << "\n";
}

void validate_sweep(const std::string& path) {
  const Sweep sweep = load_sweep(path);
  for (const RunSpec& run : sweep.runs) decoder_factory(sweep, run);
  for (const Trace& trace : open_traces(sweep)) describe(trace);
  std::cout << path << ": a valid sweep of " << sweep.runs.size() * sweep.traces.size()
            << " runs\n";
}

}  // namespace

void add_validate(CLI::App& app) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand(
      "validate", "Check a sweep (and the traces it names) or a trace, without running anything");
  command->add_option("file", *path, "a sweep (.yaml, .yml) or a trace (anything else)")
      ->required();
  command->callback([path] {
    const std::string suffix = std::filesystem::path(*path).extension().string();
    suffix == ".yaml" || suffix == ".yml" ? validate_sweep(*path) : describe(Trace::open(*path));
  });
}

}  // namespace doublep
