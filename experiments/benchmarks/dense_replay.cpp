// Dense replay of a trace against a plain loop that reads the same buffers on the same threads, and
// the memory it takes. Usage: doublep_bench_replay TRACE [rounds]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/base/text.h"
#include "core/decoder/reference_decoder.h"
#include "experiments/replay/replay.h"

namespace doublep {
namespace {

// A line of /proc/self/status, in MB.
double memory(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (word == name + ":") {
      double kilobytes = 0;
      status >> kilobytes;
      return kilobytes / 1024;
    }
  return 0;
}

// Seconds to add up the keys and values that every step sees, KV heads spread over threads.
double read_seconds(const Trace& trace, const TraceLayer& data) {
  const TraceInfo& info = trace.info();
  std::vector<float> sums(info.num_kv_heads);
  const auto start = std::chrono::steady_clock::now();
  for (std::int64_t position : info.positions)
    parallel_for(info.num_kv_heads, [&](std::int64_t h) {
      const KvHead head = trace.cache(data).first(position + 1).head(static_cast<int>(h));
      for (const float* rows : {head.keys, head.values}) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (std::int64_t i = 0; i < head.length * head.head_dim; ++i) sum += rows[i];
        sums[h] += sum;
      }
    });
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  volatile float sink = sums[0];  // the loop has a result
  (void)sink;
  return seconds;
}

void run(const std::string& path, int rounds) {
  const Trace trace = Trace::open(path);
  const TraceInfo& info = trace.info();
  const PolicyInfo& dense = PolicyRegistry::instance().find("dense");
  const Parameters parameters = resolve(dense, {});
  const auto make = [&](int layer, int) -> std::unique_ptr<Decoder> {
    PolicyContext context;
    context.layer = layer;
    return std::make_unique<ReferenceDecoder>(dense, parameters, context);
  };
  double bytes = 0;  // of one layer
  for (std::int64_t p : info.positions) bytes += 8.0 * info.num_kv_heads * info.head_dim * (p + 1);
  const double layer_mb = 8.0 * info.num_kv_heads * info.head_dim * info.num_tokens / (1 << 20);
  // In a process of its own the file would not have been read yet; opening reads one head at a
  // time.
  const double before = memory("VmRSS");
  for (int round = 0; round < rounds; ++round) {
    double reading = 0, attending = 0;
    const auto result = replay(trace, {}, make, [](double) { return true; });
    if (round == 0)
      std::printf(
          "memory: %.0f MB before, peak %.0f MB; one layer's keys and values %.0f MB: %.2fx\n",
          before, memory("VmHWM"), layer_mb, (memory("VmHWM") - before) / layer_mb);
    for (const auto& layer : result.layers) attending += layer.seconds_steps;
    for (int layer : info.layers) reading += read_seconds(trace, trace.read_layer(layer));
    const double total = bytes * static_cast<double>(info.layers.size()) / 1e9;
    std::printf("round %d: %d threads, attend %.2f GB/s, read loop %.2f GB/s, ratio %.2f\n", round,
                num_threads(), total / attending, total / reading, reading / attending);
  }
}

}  // namespace
}  // namespace doublep

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: doublep_bench_replay TRACE [rounds [threads]]\n");
    return 2;
  }
  try {
    const auto count = [&](int at, int fallback) {
      if (argc <= at) return fallback;
      const auto number = doublep::parse_integer(argv[at]);
      if (!number || *number < 1 || *number > 4096)
        doublep::fail_input("'", argv[at], "': expected an integer in [1, 4096]");
      return static_cast<int>(*number);
    };
    if (argc > 3) doublep::set_num_threads(count(3, 1));
    doublep::run(argv[1], count(2, 3));
  } catch (const doublep::InputError& e) {
    std::fprintf(stderr, "doublep_bench_replay: %s\n", e.what());
    return 2;
  }
}
