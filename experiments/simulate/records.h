// Rows of a simulation's result file as they lie on disk (SIMULATION_FORMAT.md).
#pragma once

#include <cstdint>

#include "experiments/results/table.h"
#include "experiments/simulate/simulation.h"

namespace doublep::sim {

inline constexpr int kNumParts = 9;
/// Parts of a decode step, in the order of the record's fields.
inline constexpr const char* kPartNames[kNumParts] = {
    "projections", "estimate",      "select",     "attend",       "mlp",
    "head",        "small kernels", "all-reduce", "re-clustering"};

struct PointRecord {
  std::int64_t context;
  std::int32_t batch, tensor_parallel, place, balance, bound, attend_bound, fits, largest_batch;
  std::uint32_t extrapolated;
  double kv_bytes, cache_share, recluster_every;
  double seconds, attention_seconds, parts[kNumParts];
  double bytes, exact_tokens, imbalance, hit_rate, memory, prefill_seconds, build_seconds;
};

struct ServingRecord {
  double rate;
  std::int32_t requests, rejected, peak_running;
  std::uint32_t extrapolated;
  double seconds, tokens, tokens_per_second, tpot_p50, tpot_p99, ttft_p50, ttft_p99, peak_memory,
      mean_running, mean_in_system, busy;
};

struct CrossoverRecord {
  std::int64_t context, largest, from, to;
  std::int32_t batch, tensor_parallel, place;
  std::uint32_t extrapolated;
  double kv_bytes, cache_share;
};

struct AnswerRecord {
  std::int64_t prompt, output;
  std::int32_t batch, tensor_parallel, place, fits, questions, cut;
  std::uint32_t extrapolated;
  double kv_bytes, cache_share, ratio, tokens, prefill_seconds, build_seconds, steps_seconds,
      seconds;
};

struct CalibrationRecord {
  char policy[32], label[128];
  std::int64_t context;
  std::int32_t batch, held_out;
  double measured, predicted;
};

/// A whole decode step.
struct StepRecord {
  char policy[32], label[128];
  std::int64_t context;
  std::int32_t batch, distinct, held_out;
  double measured, predicted, output_error;
};

/// A part of a step without attention, or a layer's products over a prompt (`batch`: its rows).
struct ProductRecord {
  char part[32];
  std::int32_t batch, held_out;
  double measured, predicted;
};

struct HitRecord {
  double share, rate;
};

PointRecord to_record(const PointResult& point);
ServingRecord to_record(const ServingResult& serving);
CrossoverRecord to_record(const CrossoverResult& crossover);
AnswerRecord to_record(const AnswerResult& answer);
CalibrationRecord to_record(const Prediction& prediction);
StepRecord to_record(const StepPrediction& prediction);
std::vector<ProductRecord> to_records(const EndToEnd& end_to_end);

Columns point_columns();
Columns serving_columns();
Columns crossover_columns();
Columns answer_columns();
Columns calibration_columns();
Columns step_columns();
Columns product_columns();
Columns hit_columns();

}  // namespace doublep::sim
