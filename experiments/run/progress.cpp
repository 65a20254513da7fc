#include "experiments/run/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "core/base/error.h"
#include "core/base/text.h"

namespace doublep {
namespace {
using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point t) {
  return std::chrono::duration<double>(Clock::now() - t).count();
}

// A terminal that takes escape sequences, of a user who does not mind them (no-color.org).
bool takes_escapes() {
  const char* terminal = std::getenv("TERM");
  const char* no_color = std::getenv("NO_COLOR");
  return isatty(STDERR_FILENO) && terminal && std::string_view(terminal) != "dumb" &&
         (!no_color || !*no_color);
}

// Asked each time: a window may be made smaller while a sweep runs.
std::size_t columns_now() {
  winsize size = {};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

std::size_t width(const std::string& text) {
  std::size_t n = 0;
  for (char c : text) n += !continues_character(c);
  return n;
}

std::string cut(const std::string& text, std::size_t columns) {
  if (width(text) <= columns) return text;
  const std::string mark = columns > 3 ? "..." : "";
  std::size_t end = 0, kept = 0;
  while (kept < columns - mark.size()) {
    ++end, ++kept;
    while (end < text.size() && continues_character(text[end])) ++end;
  }
  return text.substr(0, end) + mark;
}

}  // namespace

std::string fit_line(const std::string& before, const std::string& name, const std::string& after,
                     std::size_t columns) {
  if (columns == 0) return before + name + after;
  const std::size_t rest = width(before) + width(after);
  return cut(before + cut(name, columns > rest ? columns - rest : 0) + after, columns);
}

std::string clock_text(double seconds) {
  const long s = std::lround(seconds);
  char text[32];
  if (s >= 3600)
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
  else
    std::snprintf(text, sizeof text, "%ld:%02ld", s / 60, s % 60);
  return text;
}

Progress::Progress(std::size_t total_runs, double total_weight)
    : rewrites_(takes_escapes()), total_runs_(total_runs), total_weight_(total_weight) {}

Progress::~Progress() {
  if (rewrites_ && shown_ != Clock::time_point()) std::fputs("\r\033[K", stderr);
}

std::string Progress::left() const {
  const double done = (finished_ + current_ * done_) / total_weight_;
  if (!(done > 0)) return "-";
  return clock_text(seconds_since(start_) * (1 - done) / done);
}

void Progress::reused(const std::string&) { ++runs_; }

void Progress::begin(const std::string& name, double weight) {
  name_ = printable(name), current_ = weight, done_ = 0;
  run_start_ = Clock::now();
  ++runs_;
}

void Progress::update(double done) {
  done_ = done;
  if (!rewrites_ || seconds_since(shown_) < 0.1) return;
  shown_ = Clock::now();
  const std::size_t columns = columns_now();  // the last one stays free: some terminals wrap there
  const std::string line = fit_line(concat("[", runs_, "/", total_runs_, "] "), name_,
                                    concat("  ", static_cast<int>(100 * done), " %  elapsed ",
                                           clock_text(seconds_since(start_)), "  left ", left()),
                                    columns > 1 ? columns - 1 : 0);
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
  std::fflush(stderr);
}

void Progress::end() {
  done_ = 1;
  if (!rewrites_)
    std::fprintf(stderr, "[%zu/%zu] %s  %.1f s  left %s\n", runs_, total_runs_, name_.c_str(),
                 seconds_since(run_start_), left().c_str());
  finished_ += current_, current_ = 0;
}

}  // namespace doublep
