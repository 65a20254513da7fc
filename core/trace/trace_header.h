// What a kv-trace says of itself, read and checked without touching its values.
#pragma once

#include <string>
#include <vector>

#include "core/trace/h5.h"
#include "core/trace/trace.h"

namespace doublep {

/// A dataset of a layer and the shape that the attributes demand (kAnyExtent where free).
struct LayerDataset {
  const char* name;
  std::vector<std::int64_t> shape;
  bool optional;
};
/// In the order keys, values, queries, outputs, prefill_queries.
std::vector<LayerDataset> layer_datasets(const TraceInfo& info);

/// "layers/2/keys"
std::string dataset_path(int layer, const char* name);

/// Attributes, positions and layers, and the shape, type and storage of every dataset. Throws
/// InputError. `path` is the file's, for messages.
TraceInfo read_trace_header(hid_t file, const std::string& path);

}  // namespace doublep
