#include "experiments/results/stored_run.h"

#include <cstddef>
#include <cstring>
#include <tuple>

#include "core/base/error.h"
#include "core/base/parameters.h"
#include "core/base/text.h"
#include "core/trace/hdf5/h5.h"

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

namespace {

Sha256 begin_hash(const std::string& key, const Attributes& attributes) {
  Sha256 hash;
  hash.add(concat("run ", key, "\n"));
  add_to_hash(attributes, hash);
  return hash;
}

// Rows that no replay gives. Found as they come, long before all are read.
void check_row(const Row& row, const Row* previous, std::size_t index, const std::string& place) {
  if (row.visible_tokens < 1)
    fail_input(place, ": rows[", index, "] sees ", row.visible_tokens,
               " tokens, expected at least 1; the file is damaged, run the sweep again");
  if (previous && previous->layer == row.layer &&
      std::tie(row.step, row.head) <= std::tie(previous->step, previous->head))
    fail_input(place, ": rows[", index, "] repeats or precedes the row before it; the file is ",
               "damaged, run the sweep again");
}

}  // namespace

void write_run(hid_t runs, const std::string& key, const RunContent& run, const std::string& file) {
  const std::string place = concat(file, ": run ", key);
  const h5::Handle group = h5::create_group(runs, key, file);
  Sha256 hash = begin_hash(key, run.attributes);
  write_table(group.get(), "rows", row_columns(), run.rows, place, &hash);
  write_table(group.get(), "layers", layer_columns(), run.layers, place, &hash);
  write_attributes(group.get(), run.attributes);
  h5::write_string(group.get(), kContentHash, hash.hex());
}

RunContent read_run(hid_t runs, const std::string& key, const std::string& file) {
  std::string place = concat(file, ": run ", printable(key));
  const h5::Handle group = h5::open_group(runs, key, place);
  RunContent run;
  run.attributes = read_attributes(group.get(), place);
  if (const auto label = run.attributes.find("label"); label != run.attributes.end())
    if (const auto* text = std::get_if<std::string>(&label->second))
      place += " (" + printable(*text) + ")";
  Sha256 hash = begin_hash(key, run.attributes);
  const Row* previous = nullptr;
  Row last;
  run.rows = read_table<Row>(group.get(), "rows", row_columns(), place, hash,
                             [&](const Row& row, std::size_t i) {
                               check_row(row, previous, i, place);
                               last = row, previous = &last;
                             });
  run.layers = read_table<LayerSummary>(group.get(), "layers", layer_columns(), place, hash,
                                        [](const LayerSummary&, std::size_t) {});
  if (text_of(run.attributes, kContentHash, place) != hash.hex())
    fail_input(place, ": is not what was written, the file is damaged; run the sweep again, which ",
               "does this run anew and keeps the others");
  run.attributes.erase(kContentHash);
  return run;
}

}  // namespace doublep
