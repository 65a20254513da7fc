// How far a sweep is, for people: one line that rewrites itself on a terminal, plain lines
// elsewhere.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace doublep {

class Progress {
 public:
  /// `total_weight`: of all runs that are to be done; a run's weight is its share of the time.
  Progress(std::size_t total_runs, double total_weight);
  ~Progress();
  void reused(const std::string& name);
  void begin(const std::string& name, double weight);
  /// Share of the current run that is done.
  void update(double done);
  void end();

 private:
  std::string left() const;
  bool rewrites_;
  std::size_t total_runs_, runs_ = 0;
  double total_weight_, finished_ = 0, current_ = 0, done_ = 0;
  std::string name_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now(), shown_ = {};
  std::chrono::steady_clock::time_point run_start_ = {};
};

/// 75 -> "1:15", 3700 -> "1:01:40".
std::string clock_text(double seconds);

/// "before name after" in at most `columns` characters (UTF-8 counts as one each): the name gives
/// way first, its end marked "...", then what stands after it. 0 columns: as long as it is.
std::string fit_line(const std::string& before, const std::string& name, const std::string& after,
                     std::size_t columns);

}  // namespace doublep
