#include "core/base/stop_signal.h"

namespace doublep {
namespace {
volatile std::sig_atomic_t stop_requested = 0;
}

StopOnSignal::StopOnSignal() {
  struct sigaction action = {};
  action.sa_handler = [](int) { stop_requested = 1; };
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, &old_int_);
  sigaction(SIGTERM, &action, &old_term_);
}

StopOnSignal::~StopOnSignal() {
  sigaction(SIGINT, &old_int_, nullptr);
  sigaction(SIGTERM, &old_term_, nullptr);
}

bool StopOnSignal::requested() { return stop_requested != 0; }

}  // namespace doublep
