// What a kv-trace says of itself, read and checked without touching its values.
#pragma once

#include <string>

#include "core/trace/hdf5/h5.h"
#include "core/trace/trace_info.h"

namespace doublep {

/// "layers/2/keys"
std::string dataset_path(int layer, const char* name);

/// Attributes, positions and layers, and the shape, type and storage of every dataset. Throws
/// InputError. `path` is the file's, for messages.
TraceInfo read_trace_header(hid_t file, const std::string& path);

}  // namespace doublep
