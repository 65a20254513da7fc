// The row of a result file as it lies on disk (RESULT_FORMAT.md), and its HDF5 type.
#pragma once

#include <cstdint>

#include "core/trace/h5.h"
#include "experiments/replay/row.h"

namespace doublep {

struct RowRecord {
  std::int32_t layer, head, kv_head, step;
  std::int64_t visible_tokens, exact_tokens, approximated_clusters, oracle_tokens;
  double exact_mass, covered_mass, output_error, cosine, lse_error;
  std::int32_t violation;
  double audited_mass, audited_low, audited_high;
  double bytes[kNumStages], flops[kNumStages];
};

struct LayerRecord {
  std::int32_t layer;
  double index_memory_bytes, index_build_bytes, index_build_flops;
  double seconds_index, seconds_steps, dense_mismatch;
};

RowRecord to_record(const Row& row);
LayerRecord to_record(const LayerSummary& layer);
h5::Handle row_type();
h5::Handle layer_type();

}  // namespace doublep
