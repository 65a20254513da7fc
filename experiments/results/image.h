// A result file on its way to the disk: made in memory and put there in one go, by write_output,
// since HDF5 itself deals badly with a disk that fills up while it flushes; and where a result came
// from.
#pragma once

#include <map>
#include <string>

#include "core/trace/hdf5/h5.h"

namespace doublep {

class FileImage {
 public:
  FileImage();
  hid_t root() const { return file_.get(); }
  /// Replaces `path` atomically; on failure nothing is left behind but what was there before.
  void save(const std::string& path);

 private:
  h5::Handle file_;
};

/// Attributes that every result carries, and no gate compares: commit, compiler, flags, cpu,
/// libraries, program_hash, created (ISO 8601, UTC).
std::map<std::string, std::string> provenance();

/// Hash of this executable's own file: results of another build are not taken for this one's.
const std::string& program_hash();
std::string utc_now();

}  // namespace doublep
