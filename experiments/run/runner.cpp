#include "experiments/run/runner.h"

#include <algorithm>
#include <chrono>
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

// A batch: parts of a trace's layers that every run replays before any goes on to the next batch.
// All of them where the layers fit into the memory that runs share, so that a run is written as
// soon as it is done; else one at a time, so that each is read once, however many runs want it.
using Batches = std::vector<std::vector<LayerPart>>;

Batches batches_of(const Trace& trace, const ReplayOptions& options, std::int64_t runs,
                   std::int64_t memory) {
  const auto layers = static_cast<std::int64_t>(options.layers.empty() ? trace.info().layers.size()
                                                                       : options.layers.size());
  // Half of the memory is for the truths of what is read.
  auto parts = parts_of(trace, options, memory / 2);
  if (runs <= 1 || layers * trace.info().num_kv_heads * trace.head_bytes() <= memory)
    return {std::move(parts)};
  Batches batches;
  for (const LayerPart& part : parts) batches.push_back({part});
  return batches;
}

std::string place_of(const LayerPart& part, const TraceInfo& info) {
  const std::string layer = concat(", layer ", part.layer);
  if (part.kv_heads == info.num_kv_heads) return layer;
  if (part.kv_heads == 1) return concat(layer, ", KV head ", part.first_kv_head);
  return concat(layer, ", KV heads ", part.first_kv_head, " to ",
                part.first_kv_head + part.kv_heads - 1);
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
  return [&info, &run, context, on_cuda](int layer,
                                         int first_kv_head) mutable -> std::unique_ptr<Decoder> {
    const Parameters& parameters = run.of_layer(layer);
    context.layer = layer, context.kv_head = first_kv_head;
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

namespace {

// An n-th of the memory is left to what a run has of its own: its index, a step, a truth.
constexpr std::int64_t kOwnShare = 8;

// The runs of a sweep, by trace. Those of one trace share what of it is in memory.
class SweepRun {
 public:
  SweepRun(const Sweep& sweep, const RunnerOptions& options, const std::vector<Trace>& traces,
           const std::vector<DecoderFactory>& factories, ResultStore& store, std::int64_t memory)
      : sweep_(sweep), options_(options), traces_(traces), factories_(factories), store_(store) {
    for (const std::size_t place : runs_of(options.shard, sweep, traces)) {
      const std::size_t t = place / sweep.runs.size();
      FinishedRun run;
      run.spec = &sweep.runs[place % sweep.runs.size()];
      run.key = run_key(sweep, *run.spec, traces[t].content_hash());
      run.order = static_cast<int>(place), run.trace = std::to_string(t);
      there_.push_back(is_there(run.key));
      runs_.push_back(run);
    }
    double weight = 0;
    std::size_t replays = 0, first = 0;
    for (std::size_t t = 0; t < traces.size(); ++t) {
      Share share{first, first, 0, {}};
      std::int64_t to_do = 0;
      for (; share.end < runs_.size() && trace_of(share.end) == t; ++share.end)
        if (!there_[share.end]) ++to_do, weight += cost_of(share.end);
      share.batches = batches_of(traces[t], sweep.replay, to_do, memory);
      share.memory = to_do > 1 ? static_cast<std::size_t>(memory) : 0;
      replays += share.end - first + static_cast<std::size_t>(to_do) * (share.batches.size() - 1);
      first = share.end;
      shares_.push_back(std::move(share));
      names_.add(traces[t].info().name, traces[t].content_hash());
    }
    report_.total = runs_.size();
    progress_ = std::make_unique<Progress>(replays, weight);
  }

  RunnerReport run() {
    std::vector<const Trace*> pointers;
    for (std::size_t t = 0; t < traces_.size(); ++t) {
      run_trace(t);
      pointers.push_back(&traces_[t]);
    }
    store_.finish(runs_, pointers);
    return report_;
  }
  RunnerReport interrupted() {
    report_.interrupted = true;
    return report_;
  }

 private:
  /// Of a trace.
  struct Share {
    std::size_t first, end;  ///< its runs
    std::size_t memory;      ///< bytes for its layers and truths
    Batches batches;
  };

  std::size_t trace_of(std::size_t run) const {
    return static_cast<std::size_t>(runs_[run].order) / sweep_.runs.size();
  }
  double cost_of(std::size_t run) const {
    return predicted_cost(*runs_[run].spec, traces_[trace_of(run)].info(), sweep_.replay);
  }
  bool is_there(const std::string& key) const {
    return !options_.fresh && store_.has(key, options_.any_program);
  }

  void run_trace(std::size_t t) {
    const auto& [first, end, memory, batches] = shares_[t];
    const std::string name = names_.of(traces_[t].info().name, traces_[t].content_hash()) + " ";
    for (std::size_t i = first; i < end; ++i)
      if (there_[i]) ++report_.reused, progress_->reused(name + runs_[i].spec->label);
    const bool in_pieces = batches.size() > 1;
    for (const auto& batch : batches) {
      TruthCache truths(traces_[t], memory);
      // A part that the memory does not allow for is kept all the same until all have had it.
      const auto in_use = in_pieces ? truths.layer(batch.front()) : nullptr;
      bool judged = false;  // what was recorded, by the first run
      for (std::size_t i = first; i < end; ++i) {
        if (there_[i]) continue;
        FinishedRun run = runs_[i];
        std::string label = name + run.spec->label;
        if (in_pieces) {
          run.key = piece_key(run.key, batch.front());
          label += place_of(batch.front(), traces_[t].info());
          if (is_there(run.key)) {
            progress_->reused(label);
            continue;
          }
        }
        progress_->begin(label, cost_of(i) / static_cast<double>(batches.size()));
        run_batch(traces_[t], batch, run,
                  factories_[static_cast<std::size_t>(run.order) % sweep_.runs.size()], truths,
                  in_pieces, std::exchange(judged, true));
        progress_->end();
      }
    }
    if (in_pieces) join_pieces(t);
  }

  void run_batch(const Trace& trace, const std::vector<LayerPart>& batch, FinishedRun& run,
                 const DecoderFactory& make, TruthCache& truths, bool piece, bool judged) {
    const auto start = std::chrono::steady_clock::now();
    ReplayResult result = replay(
        trace, sweep_.replay, batch, make,
        [&](double done) {
          progress_->update(done);
          return !StopOnSignal::requested();
        },
        &truths);
    run.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    // Pieces are judged when they are joined: that may take a reading of the whole trace.
    piece ? trace.require_untouched() : trace.require_unchanged();
    // Refused, or said once a layer, before anything of it is kept.
    for (const LayerSummary& layer : result.layers)
      if (!judged)
        judge_mismatch(trace, layer.layer, layer.dense_mismatch, options_.allow_mismatch);
    store_.write(run, std::move(result));
  }

  void join_pieces(std::size_t t) {
    traces_[t].require_unchanged();
    for (std::size_t i = shares_[t].first; i < shares_[t].end; ++i) {
      std::vector<std::string> pieces;
      for (const auto& batch : shares_[t].batches)
        pieces.push_back(piece_key(runs_[i].key, batch.front()));
      if (!there_[i]) store_.join(runs_[i], pieces);
    }
  }

  const Sweep& sweep_;
  const RunnerOptions& options_;
  const std::vector<Trace>& traces_;
  const std::vector<DecoderFactory>& factories_;
  ResultStore& store_;
  std::vector<FinishedRun> runs_;  // by trace
  std::vector<bool> there_;        // each of them, before this
  std::vector<Share> shares_;
  TraceNames names_;
  std::unique_ptr<Progress> progress_;
  RunnerReport report_;
};

}  // namespace

RunnerReport run_sweep(const Sweep& sweep, const RunnerOptions& options) {
  // Everything that can be refused is refused before the first run.
  const std::int64_t memory = options.truth_mebibytes << 20;
  const std::vector<Trace> traces = open_traces(sweep, memory / 2);
  std::int64_t held = 0;
  for (const Trace& trace : traces) held += trace.held_bytes();
  std::vector<DecoderFactory> factories;
  for (const RunSpec& run : sweep.runs) factories.push_back(decoder_factory(sweep, run));
  ResultStore store(sweep, options.shard);
  SweepRun all(sweep, options, traces, factories, store, memory - memory / kOwnShare - held);
  const StopOnSignal guard;
  try {
    return all.run();
  } catch (const Interrupted&) {
    return all.interrupted();
  }
}

}  // namespace doublep
