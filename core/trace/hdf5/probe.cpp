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
#include <optional>

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

// Waiting is not computing: a file system that hangs is given much longer.
unsigned waiting_seconds(const ProbeLimits& limits) {
  return static_cast<unsigned>(60 + 10 * limits.cpu_seconds);
}

void confine(const ProbeLimits& limits) {
  for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGXCPU, SIGALRM, SIGINT, SIGTERM})
    std::signal(signal, SIG_DFL);
  lower(RLIMIT_CORE, 0);
  lower(RLIMIT_CPU, static_cast<rlim_t>(std::ceil(limits.cpu_seconds)));
  if (const std::size_t now = address_space()) lower(RLIMIT_AS, now + limits.memory);
  ::alarm(waiting_seconds(limits));
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

struct Ended {
  int signal = 0, code = kFine;
  double cpu_seconds = 0;  ///< that it computed
  std::string message;
};

// nullopt where no process could be made.
std::optional<Ended> in_child(const std::function<void()>& read, const ProbeLimits& limits) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
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
  Ended ended;
  ::close(ends[1]);
  if (child > 0) ended.message = read_all(ends[0]);
  ::close(ends[0]);
  if (child < 0) return std::nullopt;
  int status = 0;
  rusage used = {};
  while (::wait4(child, &status, 0, &used) < 0 && errno == EINTR) {
  }
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  ended.cpu_seconds = seconds(used.ru_utime) + seconds(used.ru_stime);
  if (WIFSIGNALED(status)) ended.signal = WTERMSIG(status), ended.code = -1;
  if (WIFEXITED(status)) ended.code = WEXITSTATUS(status);
  return ended;
}

[[noreturn]] void refuse(const std::string& path, const Ended& ended, const ProbeLimits& limits) {
  const char* remedy = "; the file is damaged: restore it, or record it again";
  if (ended.signal == SIGXCPU) fail_input(path, ": HDF5 comes to no end reading it", remedy);
  if (ended.signal == SIGALRM)
    fail_input(path, ": reading its structure takes more than ", waiting_seconds(limits),
               " s; is the file system that it lies on there?");
  if (ended.signal == SIGKILL || ended.signal == SIGHUP || ended.signal == SIGQUIT)
    fail_input(path,
               ": reading its structure was killed from outside; by a limit on processor time "
               "(ulimit -t), or "
               "for want of memory");
  if (ended.code == kRefused && !ended.message.empty()) throw InputError(ended.message);
  // Where the process may not have the memory that a probe is granted, libhdf5 and the C library's
  // stack die of that as well: it says nothing of the file.
  if (!may_grow_by(limits.memory)) throw std::bad_alloc();
  if (ended.code == kNoMemory)
    fail_input(path, ": reading its structure takes more than ", limits.memory >> 20, " MiB",
               remedy);
  if (ended.signal)
    fail_input(path, ": HDF5 crashes reading it (signal ", ended.signal, ")", remedy);
  fail_input(path, ": HDF5 crashes reading it", remedy);
}

}  // namespace

void probe(const std::string& path, const std::function<void()>& read, const ProbeLimits& limits) {
  for (int tries = 0; tries < 3; ++tries) {
    const auto ended = in_child(read, limits);
    if (!ended || ended->code == kFine) return;
    if (ended->signal == SIGINT || ended->signal == SIGTERM)
      return;  // meant for the whole program: it decides
    // Stopped for computing too long, and it has not: some systems count a child's time from that
    // of its parent. Not the file's doing. (The limit counts by clock ticks, which on a busy machine
    // may find a process running more often than it was.)
    if (ended->signal == SIGXCPU && ended->cpu_seconds < 0.5 * limits.cpu_seconds) continue;
    refuse(path, *ended, limits);
  }
  fail_input(path, ": reading its structure is stopped before it has computed for ",
             limits.cpu_seconds, " s; raise the limit on processor time (ulimit -t)");
}

}  // namespace doublep::h5
