// The rows and layers of a result file as tables: their columns, and what is known of each field.
#pragma once

#include <string>
#include <vector>

#include "experiments/replay/row.h"
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

}  // namespace doublep
