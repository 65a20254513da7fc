#include "core/base/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/base/error.h"

namespace doublep {
namespace {

struct stat status_of(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) fail_input(path, ": no such file; check the path");
    fail_input(path, ": cannot be opened: ", std::strerror(errno),
               "; check the path and its permissions");
  }
  return status;
}

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

void require_regular_file(const std::string& path) {
  const struct stat status = status_of(path);
  if (S_ISDIR(status.st_mode))
    fail_input(path, ": cannot be opened: it is a folder; name a file in it");
  if (!S_ISREG(status.st_mode))
    fail_input(path, ": cannot be opened: it is a pipe, socket or device; name a regular file");
  if (::access(path.c_str(), R_OK) != 0)
    fail_input(path, ": cannot be opened: ", std::strerror(errno), "; change its permissions");
}

FileStamp FileStamp::of(const std::string& path) {
  const struct stat status = status_of(path);
  FileStamp stamp;
  stamp.device = status.st_dev, stamp.inode = status.st_ino, stamp.size = status.st_size;
  stamp.modified = nanoseconds(status.st_mtim), stamp.changed = nanoseconds(status.st_ctim);
  stamp.stored = std::int64_t{status.st_blocks} * 512;
  return stamp;
}

}  // namespace doublep
