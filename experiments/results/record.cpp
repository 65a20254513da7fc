#include "experiments/results/record.h"

#include <cstddef>
#include <cstring>

#include "core/base/error.h"
#include "core/base/parameters.h"

namespace doublep {
namespace {

template <class Member>
Member member(const Row& row, const Column& column) {
  Member value;
  std::memcpy(&value, reinterpret_cast<const char*>(&row) + column.offset, sizeof value);
  return value;
}

void add_stages(std::vector<RowField>& fields, const std::string& name, std::size_t offset,
                const std::string& unit, Gate gate, const std::string& meaning) {
  for (std::size_t s = 0; s < kNumStages; ++s) {
    RowField& field = fields.emplace_back();
    field.column.name = concat(name, "_", kStageNames[s]);
    field.column.type = Column::Type::kReal;
    field.column.offset = offset + s * sizeof(double), field.column.size = sizeof(double);
    field.unit = unit, field.gate = gate, field.meaning = meaning;
  }
}

}  // namespace

double RowField::value(const Row& row) const {
  switch (column.type) {
    case Column::Type::kInt32:
      return member<std::int32_t>(row, column);
    case Column::Type::kInt64:
      return static_cast<double>(member<std::int64_t>(row, column));
    case Column::Type::kReal:
      return member<double>(row, column);
    default:
      DP_ASSERT(false, "a field of a row is a number");
  }
  return 0;
}

std::string RowField::text(const Row& row) const {
  if (column.type == Column::Type::kReal) return to_text(ParamValue(value(row)));
  if (column.type == Column::Type::kInt32) return std::to_string(member<std::int32_t>(row, column));
  return std::to_string(member<std::int64_t>(row, column));
}

const std::vector<RowField>& row_fields() {
  static const std::vector<RowField> all = [] {
    std::vector<RowField> f;
#define DOUBLEP_FIELD(type, name, unit, gate, meaning) \
  f.push_back({DOUBLEP_COLUMN(Row, name), unit, Gate::gate, meaning});
#define DOUBLEP_METRIC(type, name, unit, gate, meaning) \
  f.push_back({DOUBLEP_COLUMN(Row, name), unit, Gate::gate, meaning});
#define DOUBLEP_STAGES(name, unit, gate, meaning) \
  add_stages(f, #name, offsetof(Row, name), unit, Gate::gate, meaning);
#include "experiments/replay/row_fields.def"
    return f;
  }();
  return all;
}

const Columns& row_columns() {
  static const Columns columns = [] {
    Columns all;
    for (const RowField& field : row_fields()) all.push_back(field.column);
    return all;
  }();
  return columns;
}

const Columns& layer_columns() {
  static const Columns columns = {
      DOUBLEP_COLUMN(LayerSummary, layer),
      DOUBLEP_COLUMN(LayerSummary, index_memory_bytes),
      DOUBLEP_COLUMN(LayerSummary, index_build_bytes),
      DOUBLEP_COLUMN(LayerSummary, index_build_flops),
      DOUBLEP_COLUMN(LayerSummary, seconds_index),
      DOUBLEP_COLUMN(LayerSummary, seconds_steps),
      DOUBLEP_COLUMN(LayerSummary, dense_mismatch),
  };
  return columns;
}

}  // namespace doublep
