// Time per token of a whole decode step on this GPU: cuBLAS products of the true layer shapes, the
// small kernels, and each layer's attention under a policy, all in one CUDA graph.
//
// Keys, values and queries come from recorded traces, since what a policy reads depends on them;
// the weights are random. `--distinct` layers have a cache of their own, the others share these in
// turn: between two uses of a cache the products read some 400 MB of weights, so that nothing of it
// is left in L2. Sampling is left out.
#include <CLI/CLI.hpp>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <memory>

#include "core/base/error.h"
#include "cuda/decoder/factory.h"
#include "experiments/bench/timing.h"
#include "experiments/e2e/attention.h"
#include "experiments/e2e/stack.h"

namespace doublep::e2e {
namespace {

struct Options {
  std::vector<std::string> traces, policies;
  std::vector<std::int64_t> contexts = {16384, 32768, 65536, 131072};
  std::vector<int> batches = {1, 4, 8, 16};
  int distinct = 4, repeats = 10;
  double memory_gib = 48, noise = 0.1;
  std::string json;
};

struct Point {
  std::string policy;
  std::int64_t context;
  int batch;
  double microseconds, p95, without;
};

void write_json(const std::string& path, const std::vector<Point>& points, const StackShape& s,
                const std::string& caches) {
  std::ofstream out(path);
  out << std::setprecision(8) << "{\"format\": \"doublep-e2e\", \"version\": 1, \"device\": \""
      << cuda::device_description() << "\", \"caches\": \"" << caches
      << "\", \"model\": \"llama-3.1-8b\", \"layers\": " << s.layers << ",\n \"points\": [";
  const char* separator = "\n";
  for (const Point& p : points) {
    out << separator << "  {\"policy\": \"" << p.policy << "\", \"context\": " << p.context
        << ", \"batch\": " << p.batch << ", \"step_us\": " << p.microseconds
        << ", \"p95_us\": " << p.p95 << ", \"without_attention_us\": " << p.without << "}";
    separator = ",\n";
  }
  out << "\n]}\n";
  if (!out.flush()) fail_input("cannot write ", path, "; choose another --json");
}

void run(const Options& o) {
  if (const std::string problem = cuda::device_problem(); !problem.empty()) fail_input(problem);
  const StackShape shape;
  const bench::Workload workload(o.traces, shape.kv_heads, static_cast<float>(o.noise));
  if (workload.head_dim() != shape.head_dim || workload.group() != shape.heads / shape.kv_heads)
    fail_input(o.traces[0], ": the model needs head_dim 128 and 4 query heads a KV head");
  Stack stack(shape, *std::max_element(o.batches.begin(), o.batches.end()));
  bench::Timer timer;
  std::vector<Point> points;
  std::cout << cuda::device_description() << "\n" << workload.description() << std::endl;
  for (int batch : o.batches) {
    const double without = bench::median(timer.graph_times(
        [&](cudaStream_t s) { stack.enqueue(batch, 1000.f, nullptr, s); }, 2, o.repeats));
    std::cout << "batch " << batch << ": " << without << " us without attention" << std::endl;
    for (std::int64_t context : o.contexts) {
      const double gib = o.distinct * 4.0 * shape.kv_heads * shape.head_dim * batch *
                         static_cast<double>(context) / (1 << 30);
      if (gib * 1.5 > o.memory_gib) continue;
      for (const std::string& text : o.policies) {
        const bench::Spec spec = bench::parse_spec(text, workload.scale());
        std::vector<std::unique_ptr<LayerAttention>> layers;
        for (int l = 0; l < o.distinct; ++l)
          layers.push_back(std::make_unique<LayerAttention>(workload, spec, context, batch, l));
        const auto times = timer.graph_times(
            [&](cudaStream_t s) {
              stack.enqueue(
                  batch, static_cast<float>(context),
                  [&](int l, cudaStream_t t) { return layers[l % o.distinct]->enqueue(t); }, s);
            },
            2, o.repeats);
        points.push_back(
            {text, context, batch, bench::median(times), bench::quantile(times, 0.95), without});
        std::cout << std::left << std::setw(64) << text << std::right << std::setw(8) << context
                  << std::setw(4) << batch << std::fixed << std::setprecision(1) << std::setw(11)
                  << points.back().microseconds << " us" << std::endl;
        if (!o.json.empty()) write_json(o.json, points, shape, workload.description());
      }
    }
  }
}

}  // namespace
}  // namespace doublep::e2e

int main(int argc, char** argv) {
  doublep::e2e::Options o;
  CLI::App app{"doublep_e2e: time per token of a whole decode step on this GPU"};
  app.add_option("traces", o.traces, "recorded traces whose heads fill the caches")->required();
  app.add_option("-p,--policy", o.policies, "name:key=value,...; repeat for more")->required();
  app.add_option("-c,--context", o.contexts, "tokens of a sequence")->capture_default_str();
  app.add_option("-b,--batch", o.batches, "sequences")->capture_default_str();
  app.add_option("--distinct", o.distinct, "layers with a cache of their own")
      ->check(CLI::Range(1, 32))
      ->capture_default_str();
  app.add_option("--repeats", o.repeats, "timed runs")->capture_default_str();
  app.add_option("--memory", o.memory_gib, "GiB for caches at most")->capture_default_str();
  app.add_option("--noise", o.noise, "of repeats of a recording, standard deviations");
  app.add_option("--json", o.json, "write every figure to this file, point by point");
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
