#include "experiments/replay/replay.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/metrics/step_metrics.h"
#include "core/trace/recorded_outputs.h"

namespace doublep {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - start_).count();
    start_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Rows of one step, one KV head at a time.
void measure_step(const TraceInfo& info, TruthCache& truths, const TraceLayer& data,
                  std::int64_t step, const QueryBlock& queries, const StepResult& result,
                  double fallback_target, Row* rows, std::vector<double>& mismatches) {
  const std::int64_t first_head = std::int64_t{data.first_kv_head} * info.group_size();
  parallel_for(data.kv_heads, [&](std::int64_t kv_head) {
    const auto shared = truths.truth(data, step, static_cast<int>(kv_head));
    const GroundTruth& truth = *shared;
    const QueryGroup group = queries.group(static_cast<int>(kv_head), data.kv_heads);
    for (int g = 0; g < info.group_size(); ++g) {
      const std::int64_t h = kv_head * info.group_size() + g;  // within the part
      const Selection& selection = result.selections[h];
      Row& row = rows[h];
      row.layer = data.layer, row.step = static_cast<std::int32_t>(step);
      row.head = static_cast<std::int32_t>(first_head + h);
      row.kv_head = static_cast<std::int32_t>(data.first_kv_head + kv_head);
      const float* output = result.output.data() + h * info.value_dim;
      const StepMetrics metrics = measure(truth, g, selection, output, result.log_sum_exp[h]);
#define DOUBLEP_METRIC(type, name, unit, gate, meaning) row.name = metrics.name;
#include "experiments/replay/row_fields.def"
      const double target = std::isnan(selection.target_p) ? fallback_target : selection.target_p;
      // Everything attended is no violation, whatever the last bits of the sum say.
      row.violation = metrics.covered_mass < std::min(target, 1 - 1e-9);
      row.predicted_error = predicted_error(selection, group, g, metrics.visible_tokens, output,
                                            info.value_dim, result.log_sum_exp[h]);
      const bool promised = !std::isnan(selection.target_error);
      row.error_factor = promised ? selection.error_factor : kNaN;
      // An output that is not a number keeps no promise.
      row.error_violation = promised && !(metrics.output_error <= selection.target_error);
      const MassAudit audit =
          result.audits.empty() ? MassAudit{kNaN, kNaN, kNaN} : result.audits[h];
      row.audited_mass = audit.mass, row.audited_low = audit.low, row.audited_high = audit.high;
      for (int s = 0; s < kNumStages; ++s)
        row.bytes[s] = result.cost[h].stages[s].bytes,
        row.flops[s] = result.cost[h].stages[s].flops;
      if (!data.outputs.empty()) {
        const std::int64_t offset = (step * info.num_query_heads + first_head + h) * info.value_dim;
        mismatches[kv_head] =
            std::max(mismatches[kv_head], output_mismatch(truth, g, data.outputs.data() + offset));
      }
    }
  });
}

// Summaries of parts of one layer.
void add(const LayerSummary& part, LayerSummary& whole) {
  whole.index_memory_bytes += part.index_memory_bytes;
  whole.index_build_bytes += part.index_build_bytes;
  whole.index_build_flops += part.index_build_flops;
  whole.seconds_index += part.seconds_index, whole.seconds_steps += part.seconds_steps;
  whole.dense_mismatch = std::max(whole.dense_mismatch, part.dense_mismatch);  // NaN in all or none
}

ReplayResult replay_part(const Trace& trace, const ReplayOptions& options, const LayerPart& part,
                         const DecoderFactory& make, const ReplayProgress& progress,
                         TruthCache& truths) {
  const TraceInfo& info = trace.info();
  const std::int64_t steps =
      options.max_steps > 0 ? std::min(options.max_steps, info.num_steps()) : info.num_steps();
  ReplayResult result;
  result.target_p = options.target_mass;
  for (std::int64_t t = 0; t < steps; t += options.every_step) result.steps.push_back(t);
  const auto held = truths.layer(part);
  const TraceLayer& data = *held;
  const KvCacheView cache = trace.cache(data);
  const auto decoder = make(data.layer, data.first_kv_head);
  LayerSummary summary;
  summary.layer = data.layer;
  std::vector<double> mismatches(data.kv_heads, 0.0);
  Stopwatch watch;
  decoder->prefill(cache.first(info.positions[0] + 1));
  summary.seconds_index = watch.lap();
  for (std::int64_t t = 0; t < steps; ++t) {
    watch.lap();
    if (t > 0) decoder->append(cache.first(info.positions[t] + 1));
    if (t % options.every_step == 0) {
      const QueryBlock queries = trace.queries(data, t);
      const StepResult step = decoder->step(queries, Detail::kSelections);
      summary.seconds_steps += watch.lap();
      const Selection& first_head = step.selections[0];
      if (!std::isnan(first_head.target_p)) result.target_p = first_head.target_p;
      if (!std::isnan(first_head.target_error)) result.target_error = first_head.target_error;
      const std::size_t first = result.rows.size();
      result.rows.resize(first + queries.num_query_heads);
      measure_step(info, truths, data, t, queries, step, options.target_mass,
                   result.rows.data() + first, mismatches);
    }
    if (!progress(static_cast<double>(t + 1) / static_cast<double>(steps))) throw Interrupted{};
  }
  const IndexCost index = decoder->index_cost();
  summary.index_memory_bytes = index.memory_bytes;
  summary.index_build_bytes = index.build.bytes, summary.index_build_flops = index.build.flops;
  summary.dense_mismatch =
      data.outputs.empty() ? kNaN : *std::max_element(mismatches.begin(), mismatches.end());
  result.layers.push_back(summary);
  return result;
}

}  // namespace

std::vector<LayerPart> parts_of(const Trace& trace, const ReplayOptions& options,
                                std::int64_t most_bytes) {
  const int heads = trace.info().num_kv_heads;
  const int at_once =
      static_cast<int>(std::clamp<std::int64_t>(most_bytes / trace.head_bytes(), 1, heads));
  std::vector<LayerPart> parts;
  for (int layer : options.layers.empty() ? trace.info().layers : options.layers)
    for (int first = 0; first < heads; first += at_once)
      parts.emplace_back(layer, first, std::min(at_once, heads - first));
  return parts;
}

ReplayResult joined(std::vector<ReplayResult> parts) {
  ReplayResult whole = std::move(parts.front());
  std::size_t layer_begin = 0;  // of the last layer's rows
  for (std::size_t i = 1; i < parts.size(); ++i) {
    ReplayResult& part = parts[i];
    whole.target_p = part.target_p;
    if (!std::isnan(part.target_error)) whole.target_error = part.target_error;
    const bool same_layer = part.layers.front().layer == whole.layers.back().layer;
    if (same_layer)
      add(part.layers.front(), whole.layers.back());
    else
      layer_begin = whole.rows.size();
    whole.layers.insert(whole.layers.end(), part.layers.begin() + same_layer, part.layers.end());
    whole.rows.insert(whole.rows.end(), part.rows.begin(), part.rows.end());
    if (same_layer)
      std::stable_sort(whole.rows.begin() + static_cast<std::ptrdiff_t>(layer_begin),
                       whole.rows.end(),
                       [](const Row& a, const Row& b) { return a.step < b.step; });
  }
  return whole;
}

ReplayResult replay(const Trace& trace, const ReplayOptions& options,
                    const std::vector<LayerPart>& parts, const DecoderFactory& make,
                    const ReplayProgress& progress, TruthCache* shared) {
  TruthCache own(trace, 0);
  TruthCache& truths = shared ? *shared : own;
  std::vector<ReplayResult> results;
  for (const LayerPart& part : parts) {
    const auto done_before = static_cast<double>(results.size());
    results.push_back(replay_part(
        trace, options, part, make,
        [&](double done) {
          return progress((done_before + done) / static_cast<double>(parts.size()));
        },
        truths));
  }
  return joined(std::move(results));
}

}  // namespace doublep
