#include "experiments/simulate/records.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace doublep::sim {
namespace {

h5::Handle compound(std::size_t size) { return {H5Tcreate(H5T_COMPOUND, size), H5Tclose}; }

void insert(const h5::Handle& type, const std::string& name, std::size_t offset, hid_t member) {
  H5Tinsert(type.get(), name.c_str(), offset, member);
}

void insert_text(const h5::Handle& type, const char* name, std::size_t offset, std::size_t size) {
  const h5::Handle text(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(text.get(), size);
  insert(type, name, offset, text.get());
}

template <std::size_t n>
void copy_text(char (&into)[n], const std::string& from) {
  std::memset(into, 0, n);
  std::memcpy(into, from.data(), std::min(from.size(), n - 1));
}

}  // namespace

#define DOUBLEP_FIELD(record, field, kind) \
  insert(t, #field, offsetof(record, field), H5T_NATIVE_##kind)

PointRecord to_record(const PointResult& p) {
  PointRecord r = {};
  r.context = p.point.context, r.batch = p.point.batch;
  r.tensor_parallel = p.point.tensor_parallel;
  r.place = static_cast<int>(p.point.place), r.kv_bytes = bytes_of(p.point.kv_dtype);
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

h5::Handle point_type() {
  h5::Handle t = compound(sizeof(PointRecord));
  DOUBLEP_FIELD(PointRecord, context, INT64);
  DOUBLEP_FIELD(PointRecord, batch, INT32);
  DOUBLEP_FIELD(PointRecord, tensor_parallel, INT32);
  DOUBLEP_FIELD(PointRecord, place, INT32);
  DOUBLEP_FIELD(PointRecord, kv_bytes, INT32);
  DOUBLEP_FIELD(PointRecord, balance, INT32);
  DOUBLEP_FIELD(PointRecord, bound, INT32);
  DOUBLEP_FIELD(PointRecord, attend_bound, INT32);
  DOUBLEP_FIELD(PointRecord, fits, INT32);
  DOUBLEP_FIELD(PointRecord, largest_batch, INT32);
  DOUBLEP_FIELD(PointRecord, extrapolated, UINT32);
  DOUBLEP_FIELD(PointRecord, cache_share, DOUBLE);
  DOUBLEP_FIELD(PointRecord, recluster_every, DOUBLE);
  DOUBLEP_FIELD(PointRecord, seconds, DOUBLE);
  DOUBLEP_FIELD(PointRecord, attention_seconds, DOUBLE);
  for (int i = 0; i < kNumParts; ++i) {
    std::string name = concat("seconds_", kPartNames[i]);
    for (char& c : name) c = c == ' ' || c == '-' ? '_' : c;
    insert(t, name, offsetof(PointRecord, parts) + i * sizeof(double), H5T_NATIVE_DOUBLE);
  }
  DOUBLEP_FIELD(PointRecord, bytes, DOUBLE);
  DOUBLEP_FIELD(PointRecord, exact_tokens, DOUBLE);
  DOUBLEP_FIELD(PointRecord, imbalance, DOUBLE);
  DOUBLEP_FIELD(PointRecord, hit_rate, DOUBLE);
  DOUBLEP_FIELD(PointRecord, memory, DOUBLE);
  DOUBLEP_FIELD(PointRecord, prefill_seconds, DOUBLE);
  DOUBLEP_FIELD(PointRecord, build_seconds, DOUBLE);
  return t;
}

ServingRecord to_record(const ServingResult& s) {
  const ServingReport& r = s.report;
  return {s.rate,         s.requests,     r.rejected,       r.peak_running,
          s.extrapolated, r.seconds,      r.tokens,         r.tokens_per_second,
          r.tpot_p50,     r.tpot_p99,     r.ttft_p50,       r.ttft_p99,
          r.peak_memory,  r.mean_running, r.mean_in_system, r.busy};
}

h5::Handle serving_type() {
  h5::Handle t = compound(sizeof(ServingRecord));
  DOUBLEP_FIELD(ServingRecord, rate, DOUBLE);
  DOUBLEP_FIELD(ServingRecord, requests, INT32);
  DOUBLEP_FIELD(ServingRecord, rejected, INT32);
  DOUBLEP_FIELD(ServingRecord, peak_running, INT32);
  DOUBLEP_FIELD(ServingRecord, extrapolated, UINT32);
  DOUBLEP_FIELD(ServingRecord, seconds, DOUBLE);
  DOUBLEP_FIELD(ServingRecord, tokens, DOUBLE);
  DOUBLEP_FIELD(ServingRecord, tokens_per_second, DOUBLE);
  DOUBLEP_FIELD(ServingRecord, tpot_p50, DOUBLE);
  DOUBLEP_FIELD(ServingRecord, tpot_p99, DOUBLE);
  DOUBLEP_FIELD(ServingRecord, ttft_p50, DOUBLE);
  DOUBLEP_FIELD(ServingRecord, ttft_p99, DOUBLE);
  DOUBLEP_FIELD(ServingRecord, peak_memory, DOUBLE);
  DOUBLEP_FIELD(ServingRecord, mean_running, DOUBLE);
  DOUBLEP_FIELD(ServingRecord, mean_in_system, DOUBLE);
  DOUBLEP_FIELD(ServingRecord, busy, DOUBLE);
  return t;
}

CalibrationRecord to_record(const Prediction& p) {
  CalibrationRecord r = {};
  copy_text(r.policy, p.point.policy);
  copy_text(r.label, p.point.label);
  r.context = p.point.context, r.batch = p.point.batch, r.held_out = p.held_out;
  r.measured = p.point.seconds, r.predicted = p.predicted;
  return r;
}

h5::Handle calibration_type() {
  h5::Handle t = compound(sizeof(CalibrationRecord));
  insert_text(t, "policy", offsetof(CalibrationRecord, policy), sizeof(CalibrationRecord::policy));
  insert_text(t, "label", offsetof(CalibrationRecord, label), sizeof(CalibrationRecord::label));
  DOUBLEP_FIELD(CalibrationRecord, context, INT64);
  DOUBLEP_FIELD(CalibrationRecord, batch, INT32);
  DOUBLEP_FIELD(CalibrationRecord, held_out, INT32);
  DOUBLEP_FIELD(CalibrationRecord, measured, DOUBLE);
  DOUBLEP_FIELD(CalibrationRecord, predicted, DOUBLE);
  return t;
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

h5::Handle step_type() {
  h5::Handle t = compound(sizeof(StepRecord));
  insert_text(t, "policy", offsetof(StepRecord, policy), sizeof(StepRecord::policy));
  insert_text(t, "label", offsetof(StepRecord, label), sizeof(StepRecord::label));
  DOUBLEP_FIELD(StepRecord, context, INT64);
  DOUBLEP_FIELD(StepRecord, batch, INT32);
  DOUBLEP_FIELD(StepRecord, distinct, INT32);
  DOUBLEP_FIELD(StepRecord, held_out, INT32);
  DOUBLEP_FIELD(StepRecord, measured, DOUBLE);
  DOUBLEP_FIELD(StepRecord, predicted, DOUBLE);
  DOUBLEP_FIELD(StepRecord, output_error, DOUBLE);
  return t;
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

h5::Handle product_type() {
  h5::Handle t = compound(sizeof(ProductRecord));
  insert_text(t, "part", offsetof(ProductRecord, part), sizeof(ProductRecord::part));
  DOUBLEP_FIELD(ProductRecord, batch, INT32);
  DOUBLEP_FIELD(ProductRecord, held_out, INT32);
  DOUBLEP_FIELD(ProductRecord, measured, DOUBLE);
  DOUBLEP_FIELD(ProductRecord, predicted, DOUBLE);
  return t;
}

h5::Handle hit_type() {
  h5::Handle t = compound(sizeof(HitRecord));
  DOUBLEP_FIELD(HitRecord, share, DOUBLE);
  DOUBLEP_FIELD(HitRecord, rate, DOUBLE);
  return t;
}

#undef DOUBLEP_FIELD

}  // namespace doublep::sim
