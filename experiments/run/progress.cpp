#include "experiments/run/progress.h"

#include <unistd.h>

#include <cstdio>

namespace doublep {
namespace {
using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point t) {
  return std::chrono::duration<double>(Clock::now() - t).count();
}
}  // namespace

std::string clock_text(double seconds) {
  const long s = static_cast<long>(seconds + 0.5);
  char text[32];
  if (s >= 3600)
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
  else
    std::snprintf(text, sizeof text, "%ld:%02ld", s / 60, s % 60);
  return text;
}

Progress::Progress(std::size_t total_runs, double total_weight)
    : terminal_(isatty(STDERR_FILENO)), total_runs_(total_runs), total_weight_(total_weight) {}

Progress::~Progress() {
  if (terminal_ && shown_ != Clock::time_point()) std::fputs("\r\033[K", stderr);
}

std::string Progress::left() const {
  const double done = (finished_ + current_ * done_) / total_weight_;
  if (!(done > 0)) return "-";
  return clock_text(seconds_since(start_) * (1 - done) / done);
}

void Progress::reused(const std::string&) { ++runs_; }

void Progress::begin(const std::string& name, double weight) {
  name_ = name, current_ = weight, done_ = 0;
  run_start_ = Clock::now();
  ++runs_;
}

void Progress::update(double done) {
  done_ = done;
  if (!terminal_ || seconds_since(shown_) < 0.1) return;
  shown_ = Clock::now();
  std::fprintf(stderr, "\r\033[K[%zu/%zu] %s  %.0f %%  elapsed %s  left %s", runs_, total_runs_,
               name_.c_str(), 100 * done, clock_text(seconds_since(start_)).c_str(),
               left().c_str());
  std::fflush(stderr);
}

void Progress::end() {
  done_ = 1;
  if (!terminal_)
    std::fprintf(stderr, "[%zu/%zu] %s  %.1f s  left %s\n", runs_, total_runs_, name_.c_str(),
                 seconds_since(run_start_), left().c_str());
  finished_ += current_, current_ = 0;
}

}  // namespace doublep
