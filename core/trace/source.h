// Where a trace lies, behind one interface: an HDF5 file (core/trace/hdf5) or, as users dump it, a
// folder of .npy or .safetensors tensors and a trace.yaml that says how they are named
// (data/TRACE_FORMAT.md), which needs no HDF5.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/trace/trace_info.h"

namespace doublep {

inline constexpr const char* kChangedWhileRead =
    ": changed while it was read; wait until it is written, then try again";

/// A trace that was opened, and with it checked: what it says of itself, the shapes of its tensors,
/// and that all of their values are there and finite. Where its files fit into the memory that the
/// opener was given, they are read once, as they are stored: checks, hash and values come from
/// there. Every failure is an InputError that names file, tensor and remedy.
class TraceSource {
 public:
  virtual ~TraceSource() = default;
  virtual const TraceInfo& info() const = 0;
  /// Whose bytes the hash covers: a folder may hold others.
  virtual std::vector<std::string> files() const = 0;
  /// float32, row-major: of the tensor's first dimension the entries [first, first + count), or all
  /// where count is 0; empty where it is optional and not there. Nothing else of it is read.
  virtual std::vector<float> read(int layer, const LayerTensor& tensor, std::int64_t first,
                                  std::int64_t count) const = 0;
  /// Bytes of its files that are held in memory: all that is ever read, or 0.
  virtual std::int64_t held_bytes() const = 0;
  /// 16 hex digits over all bytes that are ever read: of those held, where they are, and else (or
  /// `on_disk`) as they are on the disk now.
  virtual std::string hash(bool on_disk) const = 0;
};

/// A folder of tensors: opens and checks all of it, and holds at most `most_held` bytes of its
/// files. Throws InputError.
std::unique_ptr<TraceSource> open_folder(const std::string& folder, std::int64_t most_held);

/// What opening a trace may read: the file itself, or the tensors and the description of a folder.
/// For who writes and must not write over them.
std::vector<std::string> trace_files(const std::string& path);

}  // namespace doublep
