// The line that tells how far a sweep is.
#include "experiments/run/progress.h"

#include "tests/catch.h"

using namespace doublep;

TEST_CASE("a line fits: the name gives way first, then what stands last") {
  CHECK(fit_line("[1/2] ", "needle-4k dense", "  50 %", 80) == "[1/2] needle-4k dense  50 %");
  CHECK(fit_line("[1/2] ", "needle-4k dense", "  50 %", 27) == "[1/2] needle-4k dense  50 %");
  CHECK(fit_line("[1/2] ", "needle-4k dense", "  50 %", 20) == "[1/2] needl...  50 %");
  CHECK(fit_line("[1/2] ", "needle-4k dense", "  50 %", 10) == "[1/2]  ...");
  CHECK(fit_line("[1/2] ", "needle-4k dense", "  50 %", 3) == "[1/");
  CHECK(fit_line("[1/2] ", "needle-4k dense", "  50 %", 0) == "[1/2] needle-4k dense  50 %");
}

TEST_CASE("a letter of several bytes counts once and stays whole") {
  CHECK(fit_line("", "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", "", 5) ==
        "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9");
  CHECK(fit_line("", "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", "", 4) == "\xc3\xa9...");
}
