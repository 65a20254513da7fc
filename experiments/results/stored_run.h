// A run as it lies in a part and in a sweep's file: a group with attributes, rows and layers, which
// are tables whose columns stand here with what is known of each field, and a hash over all of it
// that is checked whenever it is read.
#pragma once

#include <hdf5.h>

#include <string>
#include <vector>

#include "experiments/replay/row.h"
#include "experiments/results/attributes.h"
#include "experiments/results/table.h"

namespace doublep {

/// How the regression gate holds a field (experiments/gate/baseline.cpp gives the tolerances).
enum class Gate {
  kNone,         ///< a place, not a measurement
  kCount,        ///< an integer: its sum over the steps may not move
  kCountByStep,  ///< and neither may that weighted by the step
  kMass,         ///< computed in float64
  kFloat32,      ///< computed in float32
  kCost,         ///< counted
};

struct RowField {
  Column column;
  std::string unit;  ///< "" where it has none
  Gate gate = Gate::kNone;
  std::string meaning;

  double value(const Row& row) const;
  /// As the CSV has it; a real reads back as the same number.
  std::string text(const Row& row) const;
};

/// Every field of a row, in the order of row_fields.def.
const std::vector<RowField>& row_fields();
const Columns& row_columns();
const Columns& layer_columns();

struct RunContent {
  Attributes attributes;  ///< all of RESULT_FORMAT.md's but content_hash, which writing adds
  std::vector<Row> rows;
  std::vector<LayerSummary> layers;
};

/// Writes the group `key` below `runs`; `file` is for messages, here and below.
void write_run(hid_t runs, const std::string& key, const RunContent& run, const std::string& file);

/// Throws InputError that names the run where anything of it is missing or damaged.
RunContent read_run(hid_t runs, const std::string& key, const std::string& file);

}  // namespace doublep
