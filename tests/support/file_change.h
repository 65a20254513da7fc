// Files that change while somebody reads them: at a point of the reading that the test chooses, and
// without a trace in size and times.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>

#include "core/base/file.h"

namespace doublep::test {

/// Whoever opens `path` for the first time, in this process or another, waits until `change` has
/// been done. By a lease, which the file must not be open for and not every file system gives.
class WhenOpened {
 public:
  WhenOpened(const std::string& path, std::function<void()> change)
      : file_(::open(path.c_str(), O_RDWR | O_CLOEXEC)) {
    std::signal(SIGIO, SIG_IGN);  // how the system tells of it; asked for below
    if (file_ < 0 || ::fcntl(file_, F_SETLEASE, F_WRLCK) != 0) return;
    waiting_ = std::thread([this, change = std::move(change)] {
      while (!done_ && ::fcntl(file_, F_GETLEASE) == F_WRLCK)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (done_) return;
      change();
      happened_ = true;
      ::fcntl(file_, F_SETLEASE, F_UNLCK);
    });
  }
  WhenOpened(const WhenOpened&) = delete;
  ~WhenOpened() {
    done_ = true;
    if (waiting_.joinable()) waiting_.join();
    ::close(file_);
  }
  bool possible() const { return waiting_.joinable(); }
  bool happened() const { return happened_; }

 private:
  int file_;
  std::atomic<bool> done_ = false, happened_ = false;
  std::thread waiting_;
};

/// Writes that move none of a file's times: into pages that were written to before.
class UnseenChange {
 public:
  explicit UnseenChange(const std::string& path)
      : path_(path), size_(static_cast<std::size_t>(FileStamp::of(path).size)) {
    const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    void* bytes = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    ::close(file);
    if (bytes == MAP_FAILED) throw std::runtime_error("cannot map " + path);
    bytes_ = static_cast<char*>(bytes);
    for (std::size_t i = 0; i < size_; i += 4096) {
      volatile char& byte = bytes_[i];
      byte = byte;
    }
    before_ = FileStamp::of(path);
  }
  UnseenChange(const UnseenChange&) = delete;
  ~UnseenChange() { ::munmap(bytes_, size_); }

  void flip(std::size_t offset) const { bytes_[offset] = static_cast<char>(bytes_[offset] ^ 1); }
  /// The first `from` becomes `to`, of the same length.
  void replace(const std::string& from, const std::string& to) const {
    char* end = bytes_ + size_;
    char* found = std::search(bytes_, end, from.begin(), from.end());
    if (found == end || from.size() != to.size()) throw std::runtime_error("no such text");
    std::memcpy(found, to.data(), to.size());
  }
  bool unseen() const { return FileStamp::of(path_) == before_; }

 private:
  std::string path_;
  std::size_t size_;
  char* bytes_ = nullptr;
  FileStamp before_;
};

}  // namespace doublep::test
