#include "core/base/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <new>

#include "core/base/error.h"
#include "core/base/memory.h"

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

void visit_file(const std::string& path, const std::function<bool(std::string_view)>& visit) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail_input(path, ": cannot be opened for reading; check the path and its permissions");
  std::string buffer(1 << 20, '\0');
  while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())), file.gcount() > 0)
    if (!visit({buffer.data(), static_cast<std::size_t>(file.gcount())})) return;
  if (file.bad()) fail_input(path, ": reading failed; is it a regular file?");
}

std::string read_file(const std::string& path, std::int64_t most) {
  std::string bytes;
  bytes.reserve(static_cast<std::size_t>(std::min(FileStamp::of(path).size, most)));
  visit_file(path, [&](std::string_view part) {
    bytes += part;
    return static_cast<std::int64_t>(bytes.size()) <= most;
  });
  return bytes;
}

std::string read_if_room(const std::string& path, std::int64_t most) {
  // What a file takes the work cannot have: libhdf5 is granted 96 MiB alone
  // (core/trace/hdf5/probe.h).
  constexpr std::size_t kWork = std::size_t{256} << 20;
  if (!may_grow_by(static_cast<std::size_t>(FileStamp::of(path).size) + kWork)) return {};
  try {
    return read_file(path, most);
  } catch (const std::bad_alloc&) {
    return {};
  }
}

bool FileStamp::settled() const {
  using std::chrono::nanoseconds, std::chrono::seconds;
  const nanoseconds now = std::chrono::system_clock::now().time_since_epoch();
  return nanoseconds(changed) + seconds(2) <= now;
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
