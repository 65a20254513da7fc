#include "experiments/commands/sweep_options.h"

#include <cmath>
#include <iostream>

#include "core/base/output.h"
#include "core/base/parallel.h"
#include "core/base/text.h"
#include "experiments/commands/commands.h"
#include "experiments/results/result_reader.h"

namespace doublep {

void SweepOptions::add_to(CLI::App& command, const std::string& output_help) {
  command.add_option("config", config, "the sweep, YAML")->required();
  command
      .add_option("--set", overrides,
                  "override key=value or policy.parameter=value; may be repeated")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  command.add_option("-o,--output", output, output_help);
  command.add_option("-j,--jobs", jobs, "threads (0 = all cores)")
      ->check(CLI::Range(0, kMaxThreads));
  command.add_flag("--dry-run", dry_run, "print the expanded runs and their count only");
  command.add_flag("--yes", any_number, "do more than 100000 runs");
  command
      .add_option(
          "--truth-memory", runner.truth_mebibytes,
          "MiB for what runs share: traces as they are stored, in half of it at most, and "
          "a trace's ground truth (default 2048); what does not fit is read or computed for "
          "every run")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 30));
  command.add_flag("--any-program", runner.any_program,
                   "take finished runs of another build of this program for its own");
  command.add_flag("--allow-mismatch", runner.allow_mismatch,
                   "replay traces whose recorded outputs are not those of dense attention");
}

void SweepOptions::add_fresh(CLI::App& command) {
  command.add_flag("--fresh", runner.fresh, "do again what is there already");
}

std::vector<std::string> SweepOptions::words() const {
  std::vector<std::string> words = {config};
  for (const std::string& text : overrides) words.insert(words.end(), {"--set", text});
  if (any_number) words.emplace_back("--yes");
  if (runner.truth_mebibytes != RunnerOptions().truth_mebibytes)
    words.insert(words.end(), {"--truth-memory", std::to_string(runner.truth_mebibytes)});
  if (runner.any_program) words.emplace_back("--any-program");
  if (runner.allow_mismatch) words.emplace_back("--allow-mismatch");
  return words;
}

void print_plan(const Sweep& sweep, const std::optional<Shard>& shard) {
  const std::vector<std::size_t> places =
      runs_of(shard, sweep, shard ? open_traces(sweep) : std::vector<Trace>());
  for (const std::size_t place : places) {
    const RunSpec& run = sweep.runs[place % sweep.runs.size()];
    std::cout << printable(sweep.traces[place / sweep.runs.size()]) << "  " << run.backend << "  "
              << run.policy << "  " << run.parameters_json();
    if (sweep.seeds.size() > 1) std::cout << "  seed " << run.seed;
    std::cout << "\n";
  }
  if (shard) std::cout << "shard " << shard->text() << ": " << places.size() << " of ";
  std::cout << sweep.traces.size() * sweep.runs.size() << " runs (" << sweep.runs.size()
            << " of policies on " << sweep.traces.size() << " traces), to " << sweep.output << "\n";
  if (sweep.duplicates > 0)
    std::cout << sweep.duplicates << " of the expanded runs stood twice and are done once\n";
  if (sweep.skipped > 0)
    std::cout << sweep.skipped << " impossible combinations are skipped (skip_invalid)\n";
}

RunnerReport run_or_exit(const Sweep& sweep, const SweepOptions& options) {
  set_num_threads(options.jobs);
  const RunnerReport report = run_sweep(sweep, options.runner);
  if (!report.interrupted) return report;
  std::cerr << "interrupted: finished runs are kept in " << sweep.output
            << ".parts; the same command"
            << (options.runner.fresh ? " without --fresh continues there\n" : " continues there\n");
  throw ExitWith{130};
}

void fail_on_overflow(const std::string& result_file) {
  const ResultFile result = ResultFile::load(result_file);
  std::size_t count = 0;
  std::string first;
  for (const StoredRun& run : result.runs)
    for (const Row& row : run.rows) {
      if (std::isfinite(row.output_error + row.exact_mass + row.covered_mass)) continue;
      if (count++ == 0)
        first = concat(result.trace_name(run.trace), ", ", run.label, ", layer ", row.layer,
                       ", head ", row.head, ", step ", row.step);
    }
  if (count == 0) return;
  std::cerr << "doublep: " << printable(first) << ": the output error or mass is no finite number ("
            << count << (count == 1 ? " row" : " rows")
            << "): arithmetic on this trace overflowed; look for outsized keys, queries and values "
               "in it"
            << std::endl;
  throw ExitWith{1};
}

}  // namespace doublep
