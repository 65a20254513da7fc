#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <memory>
#include <thread>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/base/output.h"
#include "core/base/text.h"
#include "experiments/commands/commands.h"
#include "experiments/commands/sweep_options.h"
#include "experiments/results/image.h"
#include "experiments/results/result_reader.h"
#include "experiments/results/result_store.h"
#include "experiments/shards/merge.h"
#include "experiments/shards/slurm.h"

namespace doublep {
namespace {

namespace fs = std::filesystem;

struct SubmitOptions : SweepOptions {
  int nodes = 0;
  bool gpus = false, wait = false, script_only = false;
  std::vector<std::string> sbatch;
};

std::string listed(const std::vector<int>& shards, int count) {
  std::string text = shards.size() == 1 ? "shard " : "shards ";
  for (const int index : shards)
    text += (index == shards.front() ? "" : ", ") + Shard{index, count}.text();
  return text;
}

class Submission {
 public:
  Submission(const Sweep& sweep, const SubmitOptions& options)
      : options_(options), output_(sweep.output), count_(options.nodes) {
    std::vector<std::string> hashes;
    const std::vector<Trace> traces = open_traces(sweep);
    for (const Trace& trace : traces) hashes.push_back(trace.content_hash());
    runs_of(Shard{1, count_}, sweep, traces);  // refuses more shards than runs
    hash_ = config_hash(sweep, hashes);
    name_ = "doublep-" + Hasher().add(hash_).add(fs::absolute(output_).string()).hex();
  }

  /// Everything that is missing is submitted, waited for where that was asked, and merged where all
  /// is there then.
  void carry_out() const {
    if (is_there(output_, std::nullopt)) {
      std::cout << output_ << ": all of the sweep is there already\n";
      return;
    }
    refuse_other_count();
    // In this order: a shard that is finished in between is found.
    std::set<int> live = options_.script_only ? std::set<int>() : live_tasks(name_);
    std::vector<int> missing = missing_shards(), wanted;
    if (!missing.empty() && is_there(output_, std::nullopt)) {  // merged by another call meanwhile
      std::cout << output_ << ": all of the sweep is there already\n";
      return;
    }
    for (const int index : missing)
      if (!live.count(index)) wanted.push_back(index);
    if (!missing.empty()) {
      if (!wanted.empty()) submit(wanted);
      if (options_.script_only) return;
      if (missing.size() > wanted.size())
        std::cout << missing.size() - wanted.size() << " of " << count_
                  << " shards are queued or running\n";
      if (!options_.wait) {
        std::cout << "the same command submits what is missing then, or merges\n" << std::flush;
        return;
      }
      std::cout << std::flush;
      wait_for_tasks();
      missing = missing_shards();
    }
    if (!missing.empty()) {
      std::cerr << "doublep: " << printable(listed(missing, count_))
                << " came to nothing; see the log "
                << printable(log_path(output_, {missing.front(), count_}))
                << "; the same command submits what is missing" << std::endl;
      throw ExitWith{1};
    }
    merge();
  }

 private:
  // Whole, of this sweep, and computed by this program, as `run` would want it.
  bool is_there(const std::string& file, const std::optional<Shard>& shard) const {
    std::error_code unreadable;
    if (!fs::exists(file, unreadable)) return false;
    try {
      const ResultFile result = ResultFile::load(file);
      return result.config_hash == hash_ && result.shard == shard &&
             (options_.runner.any_program || result.program_hash == program_hash());
    } catch (const InputError&) {
      return false;  // damaged: `run` does again what is, and keeps the rest
    }
  }

  std::vector<int> missing_shards() const {
    std::vector<int> missing;
    for (int index = 1; index <= count_; ++index)
      if (const Shard shard{index, count_}; !is_there(shard_path(output_, shard), shard))
        missing.push_back(index);
    return missing;
  }

  // A sweep that is cut anew would be computed anew.
  void refuse_other_count() const {
    const fs::path folder = fs::path(shard_path(output_, {})).parent_path();
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(folder, none)) {
      const std::string name = entry.path().stem().string();
      const auto of = name.find("-of-");
      if (entry.path().extension() != ".h5" || of == std::string::npos) continue;
      if (name.substr(of + 4) != std::to_string(count_))
        fail_input(entry.path().string(), ": is of another number of shards than --nodes ", count_,
                   "; give that number, or remove the folder");
    }
  }

  void submit(const std::vector<int>& shards) const {
    JobArray job;
    job.name = name_, job.output = fs::absolute(output_).string();
    job.folder = fs::current_path().string();
    job.command = {fs::read_symlink("/proc/self/exe").string(), "run"};
    for (std::string& word : options_.words()) job.command.push_back(std::move(word));
    job.tasks = shards, job.count = count_;
    job.jobs = options_.jobs, job.gpu = options_.gpus, job.directives = options_.sbatch;
    const std::string text = job_script(job), script = output_ + ".shards/job.sh";
    make_folder_of(script);
    write_output(script, text);
    if (options_.script_only) {
      std::cout << script << ": " << listed(shards, count_) << ", for sbatch\n";
      return;
    }
    std::cout << "job " << submit_job(script) << " of Slurm: " << listed(shards, count_) << "\n";
  }

  // Until Slurm has none of them any more. A controller that is away for a while is waited for too.
  void wait_for_tasks() const {
    constexpr int kLongest = 30, kMostFailures = 20;
    int failures = 0;
    for (int seconds = 1;; seconds = std::min(2 * seconds, kLongest)) {
      std::this_thread::sleep_for(std::chrono::seconds(seconds));
      try {
        if (live_tasks(name_).empty()) return;
        failures = 0;
      } catch (const InputError&) {
        if (++failures == kMostFailures) throw;
      }
    }
  }

  void merge() const {
    std::vector<std::string> files;
    for (int index = 1; index <= count_; ++index)
      files.push_back(shard_path(output_, {index, count_}));
    const std::size_t runs = merge_shards(files, output_, options_.runner.any_program);
    std::error_code ignored;
    for (const std::string& file : files) fs::remove(file, ignored);
    std::cout << runs << " runs of " << count_ << " shards in " << output_ << "\n";
    fail_on_overflow(output_);
  }

  const SubmitOptions& options_;
  const std::string output_;
  const int count_;
  std::string hash_, name_;
};

void execute(const SubmitOptions& options) {
  if (options.nodes < 1) fail_input("--nodes ", options.nodes, ": expected at least 1");
  if (!options.script_only) require_slurm();
  Sweep sweep = load_sweep(options.config, options.overrides, options.any_number);
  if (!options.output.empty()) sweep.output = options.output;
  check_output(sweep.output, OutputForm::kFile, sweep.inputs);
  if (options.dry_run) {
    for (int index = 1; index <= options.nodes; ++index)
      print_plan(sweep, Shard{index, options.nodes});
    return;
  }
  Submission(sweep, options).carry_out();
}

}  // namespace

void add_submit(CLI::App& app) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App* command =
      app.add_subcommand("submit", "Run a sweep's shards as a job array of Slurm, then merge them");
  command->footer(
      "Called again it submits only shards that are neither there nor queued, and merges when all "
      "are there.\n"
      "Example: doublep submit configs/rivals.yaml --nodes 8 --wait "
      "--sbatch \"--partition=long --time=8:00:00\"");
  options->add_to(*command, "result file (default: the sweep's `output`)");
  command
      ->add_option("--nodes", options->nodes, "shards, a task each, which may lie on so many nodes")
      ->required();
  command->add_flag("--gpus", options->gpus, "one GPU a task");
  command
      ->add_option(
          "--sbatch", options->sbatch,
          "options of sbatch, such as \"--partition=long --time=1:00:00\"; may be repeated")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  command->add_flag("--wait", options->wait, "until the tasks have ended, then merge");
  command->add_flag("--script-only", options->script_only,
                    "write the script of what is missing, without Slurm");
  command->callback([options] { execute(*options); });
}

}  // namespace doublep
