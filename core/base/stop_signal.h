// SIGINT and SIGTERM asked for politely: work stops where it leaves nothing behind.
#pragma once

#include <csignal>

namespace doublep {

/// Thrown by work that was asked to stop and has cleaned up.
struct Interrupted {};

/// While one lives the first signal asks for a stop; a second one kills, as without it.
class StopOnSignal {
 public:
  StopOnSignal() {
    struct sigaction action = {};
    action.sa_handler = [](int) { requested_ = 1; };
    action.sa_flags = SA_RESETHAND;
    sigaction(SIGINT, &action, &old_int_);
    sigaction(SIGTERM, &action, &old_term_);
  }
  ~StopOnSignal() {
    sigaction(SIGINT, &old_int_, nullptr);
    sigaction(SIGTERM, &old_term_, nullptr);
  }
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

  /// Has a stop been asked for?
  static bool requested() { return requested_ != 0; }

 private:
  static inline volatile std::sig_atomic_t requested_ = 0;
  struct sigaction old_int_ = {}, old_term_ = {};
};

}  // namespace doublep
