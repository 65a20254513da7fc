#include "experiments/simulate/records.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

namespace doublep::sim {
namespace {

template <std::size_t n>
void copy_text(char (&into)[n], const std::string& from) {
  std::memset(into, 0, n);
  std::memcpy(into, from.data(), std::min(from.size(), n - 1));
}

}  // namespace

PointRecord to_record(const PointResult& p) {
  PointRecord r = {};
  r.context = p.point.context, r.batch = p.point.batch;
  r.tensor_parallel = p.point.tensor_parallel;
  r.place = static_cast<int>(p.point.place), r.kv_bytes = p.kv_bytes;
  r.balance = static_cast<int>(p.point.balance);
  r.cache_share = p.point.cache_share, r.recluster_every = p.point.recluster_every;
  const DecodeCost& c = p.cost;
  r.bound = static_cast<int>(c.bound), r.fits = c.fits, r.largest_batch = p.largest_batch;
  r.extrapolated = c.extrapolated;
  r.seconds = c.seconds, r.attention_seconds = c.attention;
  for (const Part& part : c.parts) {
    const auto found = std::find_if(std::begin(kPartNames), std::end(kPartNames),
                                    [&](const char* name) { return part.name == name; });
    DP_ASSERT(found != std::end(kPartNames), "a part that the record does not know: ", part.name);
    r.parts[found - std::begin(kPartNames)] = part.seconds;
    if (part.name == "attend") r.attend_bound = static_cast<int>(part.bound);
  }
  r.bytes = c.bytes, r.exact_tokens = c.exact_tokens, r.imbalance = c.imbalance;
  r.hit_rate = c.hit_rate, r.memory = c.memory;
  r.prefill_seconds = p.prefill_seconds, r.build_seconds = p.build_seconds;
  return r;
}

Columns point_columns() {
  Columns all = {
      DOUBLEP_COLUMN(PointRecord, context),           DOUBLEP_COLUMN(PointRecord, batch),
      DOUBLEP_COLUMN(PointRecord, tensor_parallel),   DOUBLEP_COLUMN(PointRecord, place),
      DOUBLEP_COLUMN(PointRecord, balance),           DOUBLEP_COLUMN(PointRecord, bound),
      DOUBLEP_COLUMN(PointRecord, attend_bound),      DOUBLEP_COLUMN(PointRecord, fits),
      DOUBLEP_COLUMN(PointRecord, largest_batch),     DOUBLEP_COLUMN(PointRecord, extrapolated),
      DOUBLEP_COLUMN(PointRecord, kv_bytes),          DOUBLEP_COLUMN(PointRecord, cache_share),
      DOUBLEP_COLUMN(PointRecord, recluster_every),   DOUBLEP_COLUMN(PointRecord, seconds),
      DOUBLEP_COLUMN(PointRecord, attention_seconds),
  };
  for (std::size_t i = 0; i < kNumParts; ++i) {
    std::string name = concat("seconds_", kPartNames[i]);
    for (char& c : name) c = c == ' ' || c == '-' ? '_' : c;
    all.push_back({name, Column::Type::kReal, offsetof(PointRecord, parts) + i * sizeof(double),
                   sizeof(double)});
  }
  all.insert(all.end(), {
                            DOUBLEP_COLUMN(PointRecord, bytes),
                            DOUBLEP_COLUMN(PointRecord, exact_tokens),
                            DOUBLEP_COLUMN(PointRecord, imbalance),
                            DOUBLEP_COLUMN(PointRecord, hit_rate),
                            DOUBLEP_COLUMN(PointRecord, memory),
                            DOUBLEP_COLUMN(PointRecord, prefill_seconds),
                            DOUBLEP_COLUMN(PointRecord, build_seconds),
                        });
  return all;
}

ServingRecord to_record(const ServingResult& s) {
  const ServingReport& r = s.report;
  return {s.rate,         s.requests,     r.rejected,       r.peak_running,
          s.extrapolated, r.seconds,      r.tokens,         r.tokens_per_second,
          r.tpot_p50,     r.tpot_p99,     r.ttft_p50,       r.ttft_p99,
          r.peak_memory,  r.mean_running, r.mean_in_system, r.busy};
}

Columns serving_columns() {
  return {
      DOUBLEP_COLUMN(ServingRecord, rate),
      DOUBLEP_COLUMN(ServingRecord, requests),
      DOUBLEP_COLUMN(ServingRecord, rejected),
      DOUBLEP_COLUMN(ServingRecord, peak_running),
      DOUBLEP_COLUMN(ServingRecord, extrapolated),
      DOUBLEP_COLUMN(ServingRecord, seconds),
      DOUBLEP_COLUMN(ServingRecord, tokens),
      DOUBLEP_COLUMN(ServingRecord, tokens_per_second),
      DOUBLEP_COLUMN(ServingRecord, tpot_p50),
      DOUBLEP_COLUMN(ServingRecord, tpot_p99),
      DOUBLEP_COLUMN(ServingRecord, ttft_p50),
      DOUBLEP_COLUMN(ServingRecord, ttft_p99),
      DOUBLEP_COLUMN(ServingRecord, peak_memory),
      DOUBLEP_COLUMN(ServingRecord, mean_running),
      DOUBLEP_COLUMN(ServingRecord, mean_in_system),
      DOUBLEP_COLUMN(ServingRecord, busy),
  };
}

CrossoverRecord to_record(const CrossoverResult& c) {
  return {c.found.context,
          c.found.largest,
          c.from,
          c.to,
          c.point.batch,
          c.point.tensor_parallel,
          static_cast<int>(c.point.place),
          c.found.extrapolated,
          c.kv_bytes,
          c.point.cache_share};
}

Columns crossover_columns() {
  return {
      DOUBLEP_COLUMN(CrossoverRecord, context),  DOUBLEP_COLUMN(CrossoverRecord, largest),
      DOUBLEP_COLUMN(CrossoverRecord, from),     DOUBLEP_COLUMN(CrossoverRecord, to),
      DOUBLEP_COLUMN(CrossoverRecord, batch),    DOUBLEP_COLUMN(CrossoverRecord, tensor_parallel),
      DOUBLEP_COLUMN(CrossoverRecord, place),    DOUBLEP_COLUMN(CrossoverRecord, extrapolated),
      DOUBLEP_COLUMN(CrossoverRecord, kv_bytes), DOUBLEP_COLUMN(CrossoverRecord, cache_share),
  };
}

AnswerRecord to_record(const AnswerResult& a) {
  return {a.point.context,
          a.output,
          a.point.batch,
          a.point.tensor_parallel,
          static_cast<int>(a.point.place),
          a.cost.fits,
          a.questions,
          a.cut,
          a.cost.extrapolated,
          a.kv_bytes,
          a.point.cache_share,
          a.ratio,
          a.ratio * static_cast<double>(a.output),
          a.cost.prefill,
          a.cost.build,
          a.cost.steps,
          a.cost.seconds};
}

Columns answer_columns() {
  return {
      DOUBLEP_COLUMN(AnswerRecord, prompt),        DOUBLEP_COLUMN(AnswerRecord, output),
      DOUBLEP_COLUMN(AnswerRecord, batch),         DOUBLEP_COLUMN(AnswerRecord, tensor_parallel),
      DOUBLEP_COLUMN(AnswerRecord, place),         DOUBLEP_COLUMN(AnswerRecord, fits),
      DOUBLEP_COLUMN(AnswerRecord, questions),     DOUBLEP_COLUMN(AnswerRecord, cut),
      DOUBLEP_COLUMN(AnswerRecord, extrapolated),  DOUBLEP_COLUMN(AnswerRecord, kv_bytes),
      DOUBLEP_COLUMN(AnswerRecord, cache_share),   DOUBLEP_COLUMN(AnswerRecord, ratio),
      DOUBLEP_COLUMN(AnswerRecord, tokens),        DOUBLEP_COLUMN(AnswerRecord, prefill_seconds),
      DOUBLEP_COLUMN(AnswerRecord, build_seconds), DOUBLEP_COLUMN(AnswerRecord, steps_seconds),
      DOUBLEP_COLUMN(AnswerRecord, seconds),
  };
}

CalibrationRecord to_record(const Prediction& p) {
  CalibrationRecord r = {};
  copy_text(r.policy, p.point.policy);
  copy_text(r.label, p.point.label);
  r.context = p.point.context, r.batch = p.point.batch, r.held_out = p.held_out;
  r.measured = p.point.seconds, r.predicted = p.predicted;
  return r;
}

Columns calibration_columns() {
  return {
      DOUBLEP_COLUMN(CalibrationRecord, policy),    DOUBLEP_COLUMN(CalibrationRecord, label),
      DOUBLEP_COLUMN(CalibrationRecord, context),   DOUBLEP_COLUMN(CalibrationRecord, batch),
      DOUBLEP_COLUMN(CalibrationRecord, held_out),  DOUBLEP_COLUMN(CalibrationRecord, measured),
      DOUBLEP_COLUMN(CalibrationRecord, predicted),
  };
}

StepRecord to_record(const StepPrediction& p) {
  StepRecord r = {};
  const MeasuredPoint& point = p.step.attention;
  copy_text(r.policy, point.policy);
  copy_text(r.label, point.label);
  r.context = point.context, r.batch = point.batch, r.distinct = p.step.distinct;
  r.held_out = p.held_out, r.measured = point.seconds, r.predicted = p.predicted;
  r.output_error = p.step.output_error;
  return r;
}

Columns step_columns() {
  return {
      DOUBLEP_COLUMN(StepRecord, policy),       DOUBLEP_COLUMN(StepRecord, label),
      DOUBLEP_COLUMN(StepRecord, context),      DOUBLEP_COLUMN(StepRecord, batch),
      DOUBLEP_COLUMN(StepRecord, distinct),     DOUBLEP_COLUMN(StepRecord, held_out),
      DOUBLEP_COLUMN(StepRecord, measured),     DOUBLEP_COLUMN(StepRecord, predicted),
      DOUBLEP_COLUMN(StepRecord, output_error),
  };
}

std::vector<ProductRecord> to_records(const EndToEnd& e) {
  std::vector<ProductRecord> records;
  const auto add = [&](const std::string& part, std::int64_t batch, bool held, double measured,
                       double predicted) {
    ProductRecord& r = records.emplace_back();
    copy_text(r.part, part);
    r.batch = static_cast<std::int32_t>(batch), r.held_out = held;
    r.measured = measured, r.predicted = predicted;
  };
  for (const ProductsPrediction& p : e.products) {
    const MeasuredProducts &m = p.measured, &q = p.predicted;
    add("without attention", m.batch, p.held_out, m.seconds, q.seconds);
    add("qkv", m.batch, p.held_out, m.qkv, q.qkv);
    add("o", m.batch, p.held_out, m.o, q.o);
    add("gate_up", m.batch, p.held_out, m.gate_up, q.gate_up);
    add("down", m.batch, p.held_out, m.down, q.down);
    add("head", m.batch, p.held_out, m.head, q.head);
    add("small kernels", m.batch, p.held_out, m.small, q.small);
  }
  for (const PrefillPrediction& p : e.prefill)
    add("prefill, one layer", p.measured.rows, p.held_out, p.measured.seconds, p.predicted);
  return records;
}

Columns product_columns() {
  return {
      DOUBLEP_COLUMN(ProductRecord, part),      DOUBLEP_COLUMN(ProductRecord, batch),
      DOUBLEP_COLUMN(ProductRecord, held_out),  DOUBLEP_COLUMN(ProductRecord, measured),
      DOUBLEP_COLUMN(ProductRecord, predicted),
  };
}

Columns hit_columns() {
  return {
      DOUBLEP_COLUMN(HitRecord, share),
      DOUBLEP_COLUMN(HitRecord, rate),
  };
}

}  // namespace doublep::sim
