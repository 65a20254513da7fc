#include "experiments/run/runner.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <utility>

#include "core/base/error.h"
#include "core/base/stop_signal.h"
#include "core/decoder/reference_decoder.h"
#include "core/trace/recorded_outputs.h"
#include "experiments/results/result_reader.h"
#include "experiments/results/result_store.h"
#include "experiments/run/progress.h"

#ifdef DOUBLEP_WITH_CUDA
#include "cuda/decoder/factory.h"
#endif

namespace doublep {
namespace {

#ifdef DOUBLEP_WITH_CUDA
constexpr bool kWithCuda = true;
// The shape is not known yet; a decoder refuses the rest when it sees one.
std::string cuda_refusal(const PolicyInfo& policy, const Parameters& parameters, KvDtype dtype) {
  const std::string problem = cuda::device_problem();
  return problem.empty() ? cuda::refusal(policy.name, parameters, {1, 1, 128, dtype}) : problem;
}
std::unique_ptr<Decoder> cuda_decoder(const PolicyInfo& policy, const Parameters& parameters,
                                      const PolicyContext& context) {
  return cuda::make_decoder(policy, parameters, context);
}
#else
constexpr bool kWithCuda = false;
std::string cuda_refusal(const PolicyInfo&, const Parameters&, KvDtype) {
  return "this program was built without CUDA; build it where nvcc is found";
}
std::unique_ptr<Decoder> cuda_decoder(const PolicyInfo&, const Parameters&, const PolicyContext&) {
  return nullptr;
}
#endif

// Refused, or said once a layer, before anything of it is kept.
void report_mismatch(const Trace& trace, const ReplayResult& result, bool allow,
                     std::map<int, bool>& reported) {
  for (const LayerSummary& layer : result.layers)
    if (!std::exchange(reported[layer.layer], true))
      judge_mismatch(trace, layer.layer, layer.dense_mismatch, allow);
}

}  // namespace

bool has_cuda() { return kWithCuda; }

DecoderFactory decoder_factory(const Sweep& sweep, const RunSpec& run) {
  const PolicyInfo& info = PolicyRegistry::instance().find(run.policy);
  PolicyContext context;
  context.seed = run.seed, context.kv_dtype = sweep.kv_dtype;
  bool on_cuda = false;
  if (run.backend != "cpu") {
    std::string refusal = cuda_refusal(info, run.parameters, sweep.kv_dtype);
    for (const auto& [layer, parameters] : run.by_layer)
      if (refusal.empty()) refusal = cuda_refusal(info, parameters, sweep.kv_dtype);
    on_cuda = refusal.empty();
    if (!on_cuda && run.backend == "cuda")
      fail_input(sweep.path, ": backend cuda, ", run.label, ": ", refusal);
  }
  return [&info, &run, context, on_cuda](int layer) mutable -> std::unique_ptr<Decoder> {
    const Parameters& parameters = run.of_layer(layer);
    context.layer = layer;
    if (on_cuda) return cuda_decoder(info, parameters, context);
    return std::make_unique<ReferenceDecoder>(info, parameters, context);
  };
}

std::vector<Trace> open_traces(const Sweep& sweep, std::int64_t most_held) {
  std::vector<Trace> traces;
  for (const std::string& path : sweep.traces) {
    traces.push_back(Trace::open(path, most_held));
    most_held -= traces.back().held_bytes();
    for (std::size_t i = 0; i + 1 < traces.size(); ++i)
      if (traces[i].content_hash() == traces.back().content_hash())
        fail_input(sweep.path, ": ", path, " holds the same trace as ", traces[i].info().path,
                   "; name it once");
    for (const RunSpec& run : sweep.runs) {
      try {
        check_fits(PolicyRegistry::instance().find(run.policy), run.parameters,
                   traces.back().info().head_dim);
      } catch (const ParameterError& e) {
        fail_input(sweep.path, ": ", e.what(), ", in ", path);
      }
    }
    const auto& held = traces.back().info().layers;
    const auto& chosen = sweep.replay.layers.empty() ? held : sweep.replay.layers;
    traces.back().require_layers(chosen);
    for (const RunSpec& run : sweep.runs)
      for (int layer : chosen)
        if (!run.by_layer.empty() && !run.by_layer.count(layer))
          fail_input(sweep.path, ": ", run.label, " was tuned without layer ", layer, " of ", path,
                     "; name the layers that it has under replay.layers, or tune on this trace");
  }
  return traces;
}

RunnerReport run_sweep(const Sweep& sweep, const RunnerOptions& options) {
  // Everything that can be refused is refused before the first run.
  const std::int64_t memory = options.truth_mebibytes << 20;
  const std::vector<Trace> traces = open_traces(sweep, memory / 2);
  std::int64_t held = 0;
  for (const Trace& trace : traces) held += trace.held_bytes();
  std::vector<DecoderFactory> factories;
  for (const RunSpec& run : sweep.runs) factories.push_back(decoder_factory(sweep, run));
  ResultStore store(sweep, options.shard);

  RunnerReport report;
  std::vector<FinishedRun> runs;
  std::vector<bool> there;
  double weight = 0;
  for (const std::size_t place : runs_of(options.shard, sweep, traces)) {
    const std::size_t t = place / sweep.runs.size();
    FinishedRun run;
    run.spec = &sweep.runs[place % sweep.runs.size()];
    run.key = run_key(sweep, *run.spec, traces[t].content_hash());
    run.order = static_cast<int>(place), run.trace = std::to_string(t);
    there.push_back(!options.fresh && store.has(run.key, options.any_program));
    if (!there.back()) weight += predicted_cost(*run.spec, traces[t].info(), sweep.replay);
    runs.push_back(run);
  }
  report.total = runs.size();

  const StopOnSignal guard;
  Progress progress(runs.size(), weight);
  TraceNames names;
  for (const Trace& trace : traces) names.add(trace.info().name, trace.content_hash());
  std::map<std::size_t, std::map<int, bool>> reported;
  std::unique_ptr<TruthCache> truths;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const std::size_t t = static_cast<std::size_t>(runs[i].order) / sweep.runs.size();
    const Trace& trace = traces[t];
    if (i == 0 || runs[i].trace != runs[i - 1].trace) {  // one trace's truth is held at a time
      std::size_t to_do = 0;
      for (std::size_t j = i; j < runs.size() && runs[j].trace == runs[i].trace; ++j)
        to_do += !there[j];
      truths = std::make_unique<TruthCache>(
          trace, to_do > 1 ? static_cast<std::size_t>(memory - held) : 0);
    }
    const std::string name =
        names.of(trace.info().name, trace.content_hash()) + " " + runs[i].spec->label;
    if (there[i]) {
      ++report.reused;
      progress.reused(name);
      continue;
    }
    progress.begin(name, predicted_cost(*runs[i].spec, trace.info(), sweep.replay));
    const auto start = std::chrono::steady_clock::now();
    try {
      ReplayResult result = replay(
          trace, sweep.replay,
          factories[static_cast<std::size_t>(runs[i].order) % sweep.runs.size()],
          [&](double done) {
            progress.update(done);
            return !StopOnSignal::requested();
          },
          truths.get());
      runs[i].seconds =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      trace.require_unchanged();
      report_mismatch(trace, result, options.allow_mismatch, reported[t]);
      store.write(runs[i], std::move(result));
    } catch (const Interrupted&) {
      report.interrupted = true;
      return report;
    }
    progress.end();
  }
  std::vector<const Trace*> pointers;
  pointers.reserve(traces.size());
  for (const Trace& trace : traces) pointers.push_back(&trace);
  store.finish(runs, pointers);
  return report;
}

}  // namespace doublep
