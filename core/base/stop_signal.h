// SIGINT and SIGTERM asked for politely: work stops where it leaves nothing behind.
#pragma once

#include <csignal>

namespace doublep {

/// Thrown by work that was asked to stop and has cleaned up.
struct Interrupted {};

/// While one lives the first signal asks for a stop; a second one kills, as without it.
class StopOnSignal {
 public:
  StopOnSignal();
  ~StopOnSignal();
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

  /// Has a stop been asked for?
  static bool requested();

 private:
  struct sigaction old_int_ = {}, old_term_ = {};
};

}  // namespace doublep
