// Expects that a trace is refused, with a line that names the file and everything in `parts`.
#pragma once

#include <initializer_list>

#include "tests/support/message.h"
#include "tests/support/trace_file.h"

namespace doublep::test {

inline void expect_refusal(const std::string& path, std::initializer_list<std::string> parts) {
  const std::string message = message_of([&] { Trace::open(path); });
  CAPTURE(message);
  CHECK(contains(message, path));
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK(contains(message, part));
  }
}

inline void expect_refusal(const TraceFile& file, std::initializer_list<std::string> parts) {
  expect_refusal(file.path(), parts);
}

}  // namespace doublep::test
