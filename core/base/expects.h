// The third way to fail: a call that its caller got wrong. The program of the caller goes on.
#pragma once

#include <stdexcept>

#include "core/base/error.h"

/// A condition on arguments or on the order of calls. Throws std::invalid_argument with file, line,
/// condition and message, in every build type; DP_ASSERT is for what no caller can bring about.
#define DP_EXPECTS(condition, ...)                                                            \
  do {                                                                                        \
    if (!(condition))                                                                         \
      throw std::invalid_argument(::doublep::concat(__FILE__, ":", __LINE__, ": " #condition, \
                                                    ": " __VA_OPT__(, ) __VA_ARGS__));        \
  } while (false)
