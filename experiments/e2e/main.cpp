// Time per token of a whole decode step on this GPU: cuBLAS products of the true layer shapes, the
// small kernels, and each layer's attention under a policy, all in one CUDA graph.
//
// Keys, values and queries come from recorded traces, since what a policy reads depends on them;
// the weights are random. `--distinct` layers have a cache of their own, the others share these in
// turn: between two uses of a cache the products read some 400 MB of weights, so that nothing of it
// is left in L2. Sampling is left out.
#include <CLI/CLI.hpp>
#include <iostream>

#include "experiments/e2e/measure.h"

int main(int argc, char** argv) {
  doublep::e2e::Options o;
  CLI::App app{"doublep_e2e: time per token of a whole decode step on this GPU"};
  app.add_option("traces", o.traces, "recorded traces whose heads fill the caches")->required();
  app.add_option("-m,--model", o.models,
                 "descriptions of models, as in configs/models: the first whose heads the traces "
                 "have is timed");
  app.add_option("-p,--policy", o.policies,
                 "name:parameter=value,..., as `doublep policies` lists them; repeat for more "
                 "(default: dense, its rivals, Double-P)");
  app.add_option("--default", o.defaults,
                 "parameter=value, for every policy that has it and does not say otherwise")
      ->capture_default_str();
  app.add_option("-c,--context", o.contexts, "tokens of a sequence")
      ->check(CLI::Range(256, 1 << 24))
      ->capture_default_str();
  app.add_option("-b,--batch", o.batches, "sequences")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--prefill", o.prefill_rows, "rows of a prompt whose products are timed")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  app.add_option("--layers", o.layers, "of the model, for a quick probe; 0: as many as it has")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--distinct", o.distinct,
                 "layers with a cache of their own; fewer where memory does not hold them")
      ->check(CLI::Range(1, 32))
      ->capture_default_str();
  app.add_option("--repeats", o.repeats, "timed runs")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--memory-share", o.memory_share,
                 "of the free device memory that a point may take")
      ->check(CLI::Range(0.01, 0.98))
      ->capture_default_str();
  app.add_option("--max-seconds", o.max_seconds, "begin no point after so long")
      ->capture_default_str();
  app.add_option("--noise", o.noise, "of repeats of a recording, standard deviations")
      ->capture_default_str();
  app.add_flag(
      "--check", o.check,
      "compare attention in the graph with the same step outside of it; exit 2 if it differs");
  app.add_flag("--dry-run", o.dry_run, "say what every setting stands for, and time nothing");
  app.add_option("--json", o.json, "write every figure to this file, complete after every point");
  try {
    app.parse(argc, argv);
    doublep::e2e::run(o);
    return 0;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const std::exception& e) {
    std::cerr << "doublep_e2e: " << e.what() << std::endl;
    return 2;
  }
}
