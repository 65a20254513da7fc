#include "core/trace/hdf5/probe.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <exception>
#include <new>

#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/base/parallel.h"

namespace doublep::h5 {
namespace {

// Exit codes of the child. Anything else is a crash: sanitizers exit with their own.
constexpr int kFine = 0, kRefused = 64, kNoMemory = 65;

void lower(int resource, rlim_t value) {
  rlimit limit = {};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) return;
  limit.rlim_cur = std::min(limit.rlim_max, std::min(limit.rlim_cur, value));
  ::setrlimit(static_cast<__rlimit_resource>(resource), &limit);
}

void confine(const ProbeLimits& limits) {
  for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGXCPU, SIGALRM, SIGINT, SIGTERM})
    std::signal(signal, SIG_DFL);
  lower(RLIMIT_CORE, 0);
  lower(RLIMIT_CPU, static_cast<rlim_t>(std::ceil(limits.cpu_seconds)));
  if (const std::size_t now = address_space()) lower(RLIMIT_AS, now + limits.memory);
  // Waiting is not computing: a file system that hangs is given much longer.
  ::alarm(static_cast<unsigned>(60 + 10 * limits.cpu_seconds));
  // What a library says as it dies is no message for a user.
  if (const int nowhere = ::open("/dev/null", O_WRONLY); nowhere >= 0)
    ::dup2(nowhere, STDERR_FILENO), ::dup2(nowhere, STDOUT_FILENO);
  stay_serial();
}

int try_reading(const std::function<void()>& read, int pipe) {
  try {
    read();
    return kFine;
  } catch (const InputError& error) {
    const std::string message = error.what();
    for (std::size_t sent = 0; sent < message.size();) {
      const ssize_t n = ::write(pipe, message.data() + sent, message.size() - sent);
      if (n <= 0) break;
      sent += static_cast<std::size_t>(n);
    }
    return kRefused;
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  }
}

std::string read_all(int pipe) {
  std::string text;
  char buffer[4096];
  while (true) {
    const ssize_t n = ::read(pipe, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
  }
}

}  // namespace

void probe(const std::string& path, const std::function<void()>& read, const ProbeLimits& limits) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return;
  const pid_t child = ::fork();
  if (child == 0) {
    confine(limits);
    int code = 1;
    try {
      code = try_reading(read, ends[1]);
    } catch (...) {  // leaves by _exit below, with nothing flushed or torn down twice
    }
    ::_exit(code);
  }
  ::close(ends[1]);
  const std::string message = child < 0 ? "" : read_all(ends[0]);
  ::close(ends[0]);
  if (child < 0) return;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const char* remedy = "; the file is damaged: restore it, or record it again";
  const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  if (signal == SIGINT || signal == SIGTERM) return;  // meant for the whole program: it decides
  if (signal == SIGXCPU || signal == SIGALRM)
    fail_input(path, ": HDF5 comes to no end reading it", remedy);
  const int code = signal ? -1 : WEXITSTATUS(status);
  if (code == kFine) return;
  if (code == kRefused && !message.empty()) throw InputError(message);
  // Where the process may not have the memory that a probe is granted, libhdf5 and the C library's
  // stack die of that as well: it says nothing of the file.
  if (!may_grow_by(limits.memory)) throw std::bad_alloc();
  if (code == kNoMemory)
    fail_input(path, ": reading its structure takes more than ", limits.memory >> 20, " MiB",
               remedy);
  if (signal) fail_input(path, ": HDF5 crashes reading it (signal ", signal, ")", remedy);
  fail_input(path, ": HDF5 crashes reading it", remedy);
}

}  // namespace doublep::h5
