// Numbers from text and back, and text for a terminal.
#include "core/base/text.h"

#include <cmath>
#include <limits>

#include "tests/catch.h"

using namespace doublep;

TEST_CASE("a number is the whole text or none") {
  CHECK(parse_integer("42") == 42);
  CHECK(parse_integer("-9223372036854775808") == std::numeric_limits<std::int64_t>::min());
  for (const char* bad : {"", " 1", "1 ", "1.0", "0x10", "1e3", "9223372036854775808", "+1", "abc"})
    CHECK(parse_integer(bad) == std::nullopt);
  CHECK(parse_real("0.5") == 0.5);
  CHECK(parse_real("1e-3") == 1e-3);
  CHECK(parse_real("7") == 7.0);
  for (const char* bad : {"", "nan", "inf", "-inf", "1e999", "1,5", "0.5x", " 0.5", "0x1p3", "--1"})
    CHECK(parse_real(bad) == std::nullopt);
}

TEST_CASE("the shortest text of a number reads back as that number") {
  CHECK(shortest_text(0.1) == "0.1");
  CHECK(shortest_text(0.1 + 0.2) == "0.30000000000000004");
  CHECK(shortest_text(1234567890123456.0) == "1234567890123456");
  for (double x : {1.0 / 3, 5e-324, 1.7976931348623157e308, 9007199254740993.0, -0.0}) {
    CHECK(parse_real(shortest_text(x)) == x);
    CHECK(std::signbit(*parse_real(shortest_text(x))) == std::signbit(x));
  }
}

TEST_CASE("control characters are spelled out, other text is left alone") {
  CHECK(printable("needle-4k \"x\" \xc3\xa9") == "needle-4k \"x\" \xc3\xa9");
  CHECK(printable("a\nb\tc\r") == "a\\nb\\tc\\r");
  CHECK(printable("\x1b[2J") == "\\x1b[2J");
  CHECK(printable("\x7f") == "\\x7f");
  CHECK(printable("\xc2\x9b"
                  "31m") == "\\x9b31m");
  CHECK(printable(printable("\x1b\n")) == printable("\x1b\n"));
}

TEST_CASE("a JSON string escapes what would end or break it") {
  CHECK(json_text("quest:budget=1") == "\"quest:budget=1\"");
  CHECK(json_text("a \"b\" \\ c") == "\"a \\\"b\\\" \\\\ c\"");
  CHECK(json_text("a\nb\tc\x01") == "\"a\\nb\\u0009c\\u0001\"");
  CHECK(json_text("\xc3\xa9") == "\"\xc3\xa9\"");
}
