#include "core/base/output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <optional>

#include "core/base/error.h"
#include "core/base/text.h"

namespace doublep {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAside = ".partial";
constexpr int kMostLinks = 40;  // as the kernel's own limit

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  const int error = errno;
  fail_input(path, ": ", what, " failed: ", std::strerror(error),
             "; free some room or choose another output, and run again: earlier results are kept");
}

std::optional<struct stat> status(const std::string& path) {
  struct stat s;
  if (::stat(path.c_str(), &s) == 0) return s;
  return std::nullopt;
}

fs::path folder_of(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  return folder.empty() ? "." : folder;
}

// What a path comes to in the end.
struct Destination {
  std::string path;     // symlinks followed, also one that points at nothing yet
  int descriptor = -1;  // of this process, where that is what the path means
  bool regular = true;  // a regular file, or none yet
};

Destination destination(const std::string& given) {
  if (given == "-") return {given, STDOUT_FILENO, false};
  Destination to{given};
  std::error_code error;
  for (int links = 0; links < kMostLinks; ++links) {
    // /dev/stdout leads to /proc/self/fd/1, a link that says "pipe:[123]" or a file's name: what is
    // meant is the descriptor, with its place in the file.
    const std::string folder = fs::weakly_canonical(folder_of(to.path), error).string();
    if (folder == concat("/proc/", ::getpid(), "/fd"))
      if (const auto number = parse_integer(fs::path(to.path).filename().string()))
        return {to.path, static_cast<int>(*number), false};
    const fs::path next = fs::read_symlink(to.path, error);
    if (error) break;
    to.path = (next.is_absolute() ? next : folder_of(to.path) / next).string();
  }
  const auto found = status(to.path);
  to.regular = !found || S_ISREG(found->st_mode) || S_ISDIR(found->st_mode);
  return to;
}

// Also of two names of a file that is not there yet.
bool same_file(const std::string& a, const std::string& b) {
  const auto one = status(a), other = status(b);
  if (one && other) return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
  std::error_code error;
  return !one && !other && fs::weakly_canonical(a, error) == fs::weakly_canonical(b, error);
}

void refuse_folder(const std::string& path) {
  const auto found = status(path);
  if ((found && S_ISDIR(found->st_mode)) || path.empty() || path.back() == '/')
    fail_input(path, ": is a folder; name a file in it as the output");
}

void write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(file, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = ENOSPC;
    if (n <= 0) throw errno;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

// Opens, writes, closes; `path` is what messages name.
void write_to(const std::string& path, const Destination& to, int flags, std::string_view bytes) {
  const int file = to.descriptor >= 0 ? ::dup(to.descriptor)
                                      : ::open(to.path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0666);
  if (file < 0) fail(path, "opening");
  try {
    write_all(file, bytes);
  } catch (int error) {
    ::close(file);
    errno = error;
    fail(path, "writing");
  }
  if (::close(file) != 0) fail(path, "writing");
}

// False only where the file could not be brought to the disk; a folder or device may not know how.
bool sync(const std::string& path, int flags) {
  const int file = ::open(path.c_str(), flags | O_CLOEXEC);
  if (file < 0) return false;
  const bool synced = ::fsync(file) == 0 || errno == EINVAL;
  return ::close(file) == 0 && synced;
}

}  // namespace

void check_output(const std::string& path, OutputForm form,
                  const std::vector<std::string>& inputs) {
  const Destination to = destination(path);
  if (!to.regular) {
    if (form == OutputForm::kFile)
      fail_input(path,
                 ": is no regular file, but this output is read back or replaced; name a file");
    return;
  }
  refuse_folder(path);
  const auto folder = status(folder_of(to.path).string());
  if (form == OutputForm::kStream && !folder && errno == ENOENT)
    fail_input(path, ": its folder does not exist; make it, or choose another output");
  if (folder && ::access(folder_of(to.path).c_str(), W_OK) != 0)
    fail_input(path, ": its folder cannot be written: ", std::strerror(errno),
               "; choose another output");
  for (const std::string& written : {to.path, to.path + kAside}) {
    if (!status(written) && errno != ENOENT)
      fail_input(path, ": cannot be an output: ", std::strerror(errno), "; choose another");
    for (const std::string& input : inputs)
      if (same_file(written, input))
        fail_input(path, ": writing it would destroy ", input, "; choose another output");
  }
}

void make_folder_of(const std::string& path) {
  std::error_code error;
  fs::create_directories(folder_of(path), error);
  if (error)
    fail_input(path, ": its folder cannot be made: ", error.message(),
               "; choose a writable place with --output");
}

OutputFile::OutputFile(const std::string& path)
    : path_(path), target_(destination(path).path), aside_(target_ + kAside) {
  check_output(path, OutputForm::kFile, {});
}

OutputFile::~OutputFile() {
  if (!committed_) ::unlink(aside_.c_str());
}

void OutputFile::commit() {
  if (!sync(aside_, O_RDWR)) fail(path_, "writing");
  if (std::rename(aside_.c_str(), target_.c_str()) != 0) fail(path_, "renaming");
  committed_ = true;
  sync(folder_of(target_).string(), O_RDONLY | O_DIRECTORY);  // the name; best effort
}

void write_output(const std::string& path, std::string_view bytes) {
  const Destination to = destination(path);
  if (!to.regular) {
    std::cout.flush();  // may be where this goes
    return write_to(path, to, 0, bytes);
  }
  OutputFile file(path);
  write_to(path, {file.aside()}, O_CREAT | O_TRUNC, bytes);
  file.commit();
}

}  // namespace doublep
