// Where output goes. A file appears under its name only when it is whole: it is written aside,
// synced, renamed. What is no regular file (a device, a FIFO, "-" for standard output) is written
// through, and so is a symlink, to the file that it points at.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace doublep {

enum class OutputForm {
  kStream,  ///< bytes in one go: may also be "-", a device, a FIFO
  kFile,    ///< written with seeks, read back or replaced: a regular file only
};

/// Refuses an output that cannot be written, before any work is done for it: a folder, a path that
/// is too long, a folder that cannot be written or (kStream) none, one of the `inputs` (other
/// outputs among them; by device and inode, so under any name), and, for kFile, what is no regular
/// file. Throws InputError.
void check_output(const std::string& path, OutputForm form, const std::vector<std::string>& inputs);

/// For outputs that a configuration names: results/NAME.h5. Throws InputError.
void make_folder_of(const std::string& path);

/// A regular file in the making: everything goes to aside() until commit() gives it its name.
/// Where that does not happen, aside() is removed and an earlier file of the name stays as it was.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& aside() const { return aside_; }
  /// aside() is closed. Throws InputError.
  void commit();

 private:
  std::string path_, target_, aside_;
  bool committed_ = false;
};

/// All of `bytes`, in one go. Throws InputError with the reason.
void write_output(const std::string& path, std::string_view bytes);

}  // namespace doublep
