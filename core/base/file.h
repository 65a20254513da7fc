// Files as the system sees them: what may be opened at all, and whether a file is still the one
// that was read.
#pragma once

#include <cstdint>
#include <string>

namespace doublep {

/// Throws InputError unless `path` is a regular file that can be read. Looks, and opens nothing: a
/// FIFO would wait for a writer for ever, a device may do anything.
void require_regular_file(const std::string& path);

/// Who a file is, and when it last changed.
struct FileStamp {
  std::uint64_t device = 0, inode = 0;
  std::int64_t size = 0;
  std::int64_t modified = 0, changed = 0;  ///< nanoseconds; of the content, and of anything
  std::int64_t stored = 0;  ///< bytes that the disk holds; below size where the file has holes

  /// Throws InputError where there is no such file.
  static FileStamp of(const std::string& path);
  /// The same file, not written to since.
  friend bool operator==(const FileStamp& a, const FileStamp& b) {
    return a.device == b.device && a.inode == b.inode && a.size == b.size &&
           a.modified == b.modified && a.changed == b.changed;
  }
};

}  // namespace doublep
