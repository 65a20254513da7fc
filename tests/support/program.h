// Runs the program `doublep` as a user would: another process, its output and exit code.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace doublep::test {

// g++ says so in macros, clang by a question that g++ 12 cannot parse.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DOUBLEP_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define DOUBLEP_SANITIZED true
#endif
#endif
#ifndef DOUBLEP_SANITIZED
#define DOUBLEP_SANITIZED false
#endif
/// Then memory and time are the sanitizer's, not ours.
inline constexpr bool kSanitized = DOUBLEP_SANITIZED;

struct ProgramResult {
  int code = -1;  ///< exit code; 128 + n for signal n
  double cpu_seconds = 0;
  long peak_kilobytes = 0;  ///< resident
  std::string out, err;
};

inline std::string slurp(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

inline void spill(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

struct ProgramOptions {
  std::size_t file_limit = 0;  ///< bytes a file may grow to: stands in for a full disk; 0 = none
  std::function<bool()> interrupt_when;  ///< polled; SIGINT is sent once when it says true
  std::size_t memory_limit = 0;          ///< bytes that it may write to (RLIMIT_DATA); 0 = none
  std::size_t address_limit = 0;  ///< bytes of address space (RLIMIT_AS): threads run out of it
  std::string program = DOUBLEP_PROGRAM;
};

/// The program with ARGUMENTS..., with stdout and stderr caught in `folder`.
inline ProgramResult run_program(const std::vector<std::string>& arguments,
                                 const std::filesystem::path& folder,
                                 const ProgramOptions& options = {}) {
  const auto out = folder / "stdout.txt", err = folder / "stderr.txt";
  std::vector<char*> argv = {const_cast<char*>(options.program.c_str())};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    dup2(open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666), STDOUT_FILENO);
    dup2(open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666), STDERR_FILENO);
    if (options.file_limit > 0) {
      signal(SIGXFSZ, SIG_IGN);  // so that write() fails with EFBIG
      const rlimit limit = {options.file_limit, options.file_limit};
      setrlimit(RLIMIT_FSIZE, &limit);
    }
    for (const auto& [resource, bytes] :
         {std::pair{RLIMIT_DATA, options.memory_limit}, {RLIMIT_AS, options.address_limit}}) {
      const rlimit limit = {bytes, bytes};
      if (bytes > 0 && !kSanitized) setrlimit(resource, &limit);
    }
    // Memory that is refused is for the program to handle, as without the sanitizer.
    if (kSanitized) {
      const char* given = getenv("ASAN_OPTIONS");
      const std::string all = std::string(given ? given : "") + ":allocator_may_return_null=1";
      setenv("ASAN_OPTIONS", all.c_str(), 1);
    }
    execv(argv[0], argv.data());
    _exit(127);
  }
  int status = 0;
  bool sent = false;
  rusage used = {};
  while (wait4(child, &status, WNOHANG, &used) == 0) {
    if (!sent && options.interrupt_when && options.interrupt_when())
      sent = true, kill(child, SIGINT);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  ProgramResult result;
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  for (const timeval& time : {used.ru_utime, used.ru_stime})
    result.cpu_seconds +=
        static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  result.out = slurp(out), result.err = slurp(err);
  result.peak_kilobytes = used.ru_maxrss;
  return result;
}

/// One line that begins with the program's name, and holds every part.
inline bool is_one_clear_line(const std::string& err, const std::vector<std::string>& parts,
                              const std::string& program = "doublep") {
  if (err.rfind(program + ": ", 0) != 0) return false;
  if (err.empty() || err.find('\n') != err.size() - 1) return false;
  for (const std::string& part : parts)
    if (err.find(part) == std::string::npos) return false;
  return true;
}

}  // namespace doublep::test
