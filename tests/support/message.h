// What an InputError says, held to the house's form: one line.
#pragma once

#include <string>

#include "core/base/error.h"
#include "tests/catch.h"

namespace doublep::test {

/// The message with which `call` refuses its input; fails the test where it does not.
template <class Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const InputError& error) {
    const std::string message = error.what();
    CHECK(!message.empty());
    CHECK(message.find('\n') == std::string::npos);
    return message;
  }
  FAIL_CHECK("the call did not throw InputError");
  return "";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// `text` with the first `from` replaced, which has to be there.
inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace doublep::test
