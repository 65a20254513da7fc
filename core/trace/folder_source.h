// A trace as users dump it: a folder of .npy or .safetensors tensors and a trace.yaml that says how
// they are named (data/TRACE_FORMAT.md). Needs no HDF5.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/trace/source.h"

namespace doublep {

/// Opens and checks all of it, and holds at most `most_held` bytes of its files. Throws InputError.
std::unique_ptr<TraceSource> open_folder(const std::string& folder, std::int64_t most_held);

/// What opening a trace may read: the file itself, or the tensors and the description of a folder.
/// For who writes and must not write over them.
std::vector<std::string> trace_files(const std::string& path);

}  // namespace doublep
