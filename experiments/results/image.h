// An HDF5 file made in memory and put on disk in one go, by write_output. HDF5
// itself deals badly with a disk that fills up while it flushes.
#pragma once

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

}  // namespace doublep
