// The three ways to fail: InputError for what a user can mend, DP_EXPECTS for a call that its
// caller got wrong, DP_ASSERT for what only we can mend.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <string>

#include "core/base/text.h"

namespace doublep {

/// Bad trace, configuration or argument. The message is one line that names the place, what was
/// expected and what to do. Programs print it and exit with code 2.
class InputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Strings, numbers and anything with operator<<, one after the other (g++ 12 has no <format>).
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  out.precision(9);
  (out << ... << parts);
  return out.str();
}

/// Throws an InputError of these parts, printable: one line, whatever names from files it quotes.
template <class... Parts>
[[noreturn]] void fail_input(const Parts&... parts) {
  throw InputError(printable(concat(parts...)));
}

/// Prints file, line, the condition and the message to stderr, then aborts.
[[noreturn]] inline void assertion_failed(const char* file, int line, const char* condition,
                                          const std::string& message) {
  std::fprintf(stderr, "%s:%d: invariant broken: %s%s%s\n", file, line, condition,
               message.empty() ? "" : ": ", message.c_str());
  std::abort();
}

}  // namespace doublep

/// A broken invariant of ours stops the program, in every build type.
#define DP_ASSERT(condition, ...)                                                    \
  do {                                                                               \
    if (!(condition))                                                                \
      ::doublep::assertion_failed(__FILE__, __LINE__, #condition,                    \
                                  ::doublep::concat("" __VA_OPT__(, ) __VA_ARGS__)); \
  } while (false)

/// A condition on arguments or on the order of calls. Throws std::invalid_argument with file, line,
/// condition and message, in every build type; DP_ASSERT is for what no caller can bring about.
#define DP_EXPECTS(condition, ...)                                                            \
  do {                                                                                        \
    if (!(condition))                                                                         \
      throw std::invalid_argument(::doublep::concat(__FILE__, ":", __LINE__, ": " #condition, \
                                                    ": " __VA_OPT__(, ) __VA_ARGS__));        \
  } while (false)
