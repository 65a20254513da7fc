#include "experiments/results/record.h"

#include <string>

namespace doublep {
namespace {

void insert(const h5::Handle& type, const std::string& name, std::size_t offset, hid_t member) {
  H5Tinsert(type.get(), name.c_str(), offset, member);
}

}  // namespace

#define DOUBLEP_FIELD(type, record, field, kind) \
  insert(type, #field, offsetof(record, field), H5T_NATIVE_##kind)

h5::Handle row_type() {
  h5::Handle t(H5Tcreate(H5T_COMPOUND, sizeof(RowRecord)), H5Tclose);
  DOUBLEP_FIELD(t, RowRecord, layer, INT32);
  DOUBLEP_FIELD(t, RowRecord, head, INT32);
  DOUBLEP_FIELD(t, RowRecord, kv_head, INT32);
  DOUBLEP_FIELD(t, RowRecord, step, INT32);
  DOUBLEP_FIELD(t, RowRecord, visible_tokens, INT64);
  DOUBLEP_FIELD(t, RowRecord, exact_tokens, INT64);
  DOUBLEP_FIELD(t, RowRecord, approximated_clusters, INT64);
  DOUBLEP_FIELD(t, RowRecord, oracle_tokens, INT64);
  DOUBLEP_FIELD(t, RowRecord, exact_mass, DOUBLE);
  DOUBLEP_FIELD(t, RowRecord, covered_mass, DOUBLE);
  DOUBLEP_FIELD(t, RowRecord, output_error, DOUBLE);
  DOUBLEP_FIELD(t, RowRecord, cosine, DOUBLE);
  DOUBLEP_FIELD(t, RowRecord, lse_error, DOUBLE);
  DOUBLEP_FIELD(t, RowRecord, violation, INT32);
  DOUBLEP_FIELD(t, RowRecord, audited_mass, DOUBLE);
  DOUBLEP_FIELD(t, RowRecord, audited_low, DOUBLE);
  DOUBLEP_FIELD(t, RowRecord, audited_high, DOUBLE);
  for (int s = 0; s < kNumStages; ++s) {
    const std::string stage(kStageNames[s]);
    insert(t, "bytes_" + stage, offsetof(RowRecord, bytes) + s * sizeof(double), H5T_NATIVE_DOUBLE);
    insert(t, "flops_" + stage, offsetof(RowRecord, flops) + s * sizeof(double), H5T_NATIVE_DOUBLE);
  }
  return t;
}

h5::Handle layer_type() {
  h5::Handle t(H5Tcreate(H5T_COMPOUND, sizeof(LayerRecord)), H5Tclose);
  DOUBLEP_FIELD(t, LayerRecord, layer, INT32);
  DOUBLEP_FIELD(t, LayerRecord, index_memory_bytes, DOUBLE);
  DOUBLEP_FIELD(t, LayerRecord, index_build_bytes, DOUBLE);
  DOUBLEP_FIELD(t, LayerRecord, index_build_flops, DOUBLE);
  DOUBLEP_FIELD(t, LayerRecord, seconds_index, DOUBLE);
  DOUBLEP_FIELD(t, LayerRecord, seconds_steps, DOUBLE);
  DOUBLEP_FIELD(t, LayerRecord, dense_mismatch, DOUBLE);
  return t;
}

#undef DOUBLEP_FIELD

RowRecord to_record(const Row& row) {
  const StepMetrics& m = row.metrics;
  RowRecord r = {};
  r.layer = row.layer, r.head = row.head, r.kv_head = row.kv_head, r.step = row.step;
  r.visible_tokens = m.visible_tokens, r.exact_tokens = m.exact_tokens;
  r.approximated_clusters = m.approximated_clusters, r.oracle_tokens = m.oracle_tokens;
  r.exact_mass = m.exact_mass, r.covered_mass = m.covered_mass;
  r.output_error = m.output_error, r.cosine = m.cosine, r.lse_error = m.lse_error;
  r.violation = row.violation;
  r.audited_mass = row.audited_mass, r.audited_low = row.audited_low;
  r.audited_high = row.audited_high;
  for (int s = 0; s < kNumStages; ++s)
    r.bytes[s] = row.cost.stages[s].bytes, r.flops[s] = row.cost.stages[s].flops;
  return r;
}

LayerRecord to_record(const LayerSummary& l) {
  return {l.layer,         l.index.memory_bytes, l.index.build.bytes, l.index.build.flops,
          l.seconds_index, l.seconds_steps,      l.dense_mismatch};
}

}  // namespace doublep
