// Files as the system sees them: what may be opened at all, and whether a file is still the one
// that was read.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace doublep {

/// Throws InputError unless `path` is a regular file that can be read. Looks, and opens nothing: a
/// FIFO would wait for a writer for ever, a device may do anything.
void require_regular_file(const std::string& path);

/// Visits a file's bytes from first to last, a MiB at a time (the last time what is left); stops
/// where `visit` returns false. Throws InputError where it cannot be read.
void visit_file(const std::string& path, const std::function<bool(std::string_view)>& visit);

/// All bytes, but no more than a MiB behind `most`: then the file is longer than that.
std::string read_file(const std::string& path, std::int64_t most);
/// The same; empty where the system does not give that much memory.
std::string read_if_room(const std::string& path, std::int64_t most);

/// Who a file is, and when it last changed.
struct FileStamp {
  std::uint64_t device = 0, inode = 0;
  std::int64_t size = 0;
  std::int64_t modified = 0, changed = 0;  ///< nanoseconds; of the content, and of anything
  std::int64_t stored = 0;  ///< bytes that the disk holds; below size where the file has holes

  /// Throws InputError where there is no such file.
  static FileStamp of(const std::string& path);
  /// Last changed two seconds ago or more: a change from now on shows in the times, even where a
  /// file system's clock is coarse.
  bool settled() const;
  /// The same file, not written to since.
  friend bool operator==(const FileStamp& a, const FileStamp& b) {
    return a.device == b.device && a.inode == b.inode && a.size == b.size &&
           a.modified == b.modified && a.changed == b.changed;
  }
};

}  // namespace doublep
