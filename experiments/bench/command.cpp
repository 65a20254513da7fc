// doublep bench: what a decode step costs on this GPU.
#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <memory>
#include <string>

#include "experiments/bench/bench.h"
#include "experiments/commands/commands.h"

namespace doublep {

void add_bench(CLI::App& app) {
  auto options = std::make_shared<bench::BenchOptions>();
  auto* command = app.add_subcommand(
      "bench",
      "Time decode steps on the GPU: stages, bytes, share of the read ceiling, ratio to dense");
  command->add_option("traces", options->traces, "recorded traces whose heads fill the caches")
      ->required();
  command->add_option(
      "-p,--policy", options->policies,
      "policy to time, name:parameter=value,..., as `doublep policies` lists them; repeat for more "
      "(default: dense, every rival and Double-P at several settings)");
  command
      ->add_option("--default", options->defaults,
                   "parameter=value, for every policy that has it and does not say otherwise")
      ->capture_default_str();
  command->add_option("-c,--context", options->contexts, "tokens of a sequence")
      ->capture_default_str();
  command->add_option("-b,--batch", options->batches, "sequences")->capture_default_str();
  command->add_option("--mixed", options->mixed,
                      "tokens of the sequences of one batch; timed instead of --context and "
                      "--batch, beside every length alone");
  command->add_option("--kv-heads", options->kv_heads, "KV heads of the layer")
      ->capture_default_str();
  command->add_option("--repeats", options->repeats, "timed runs per query set")
      ->capture_default_str();
  command->add_option("--queries", options->queries, "query sets")->capture_default_str();
  command->add_option("--noise", options->noise, "of repeats of a recording, standard deviations")
      ->capture_default_str();
  command->add_option("--memory", options->memory_gib, "GiB of keys and values at most")
      ->capture_default_str();
  command->add_flag("!--no-stages", options->stages, "time the whole step only");
  command->add_flag("!--no-overlap", options->launch.overlap,
                    "without programmatic dependent launch");
  command
      ->add_option("--warps", options->launch.warps, "of an attend block; 0: as the kernel has it")
      ->check(CLI::Range(0, 32));
  command
      ->add_option("--select-team", options->launch.select_team,
                   "thread blocks that share a KV head's clusters in a selection by share or "
                   "tokens; 0: as the kernel has it")
      ->check(CLI::IsMember({0, 1, 2, 4, 8}));
  command
      ->add_option("--select-threads", options->launch.select_threads,
                   "of a block that selects; 0: as the kernel has it")
      ->check(CLI::IsMember({0, 512, 1024}));
  command
      ->add_option("--estimate", options->launch.estimate_path,
                   "centroids through registers, or a ring in shared memory; any: the ring where "
                   "there is much to read")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, cuda::EstimatePath>{{"any", cuda::EstimatePath::kAny},
                                                    {"registers", cuda::EstimatePath::kRegisters},
                                                    {"ring", cuda::EstimatePath::kRing}}));
  command->add_flag("--registers", options->launch.registers,
                    "dense through registers, not the ring in shared memory");
  command->add_flag("--fp8", options->fp8,
                    "beside every setting that the device reads from a packed cache, the same with "
                    "kv_dtype=fp8");
  command->add_flag("--dry-run", options->dry_run,
                    "say what every setting stands for, and time nothing");
  command->add_option("--json", options->json,
                      "write every figure to this file, complete after every context and batch");
  command->callback([options] { bench::run_bench(*options, std::cout); });
}

}  // namespace doublep
