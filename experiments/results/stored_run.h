// A run as it lies in a part and in a sweep's file: a group with attributes, rows, layers, and a
// hash over all of it that is checked whenever it is read.
#pragma once

#include <hdf5.h>

#include <string>
#include <vector>

#include "experiments/replay/row.h"
#include "experiments/results/attributes.h"

namespace doublep {

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
