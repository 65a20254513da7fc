#include "experiments/results/stored_run.h"

#include <tuple>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/trace/hdf5/h5.h"
#include "experiments/results/record.h"

namespace doublep {
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
