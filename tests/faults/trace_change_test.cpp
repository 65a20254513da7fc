// A trace that changes underneath: nothing computed from it is kept.
#include <filesystem>

#include "tests/support/program.h"
#include "tests/support/refusal.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;
namespace fs = std::filesystem;

TEST_CASE("an opened trace knows whether its file is still the one that was read") {
  const TraceFile file;
  const Trace trace = file.open();
  CHECK_NOTHROW(trace.require_unchanged());
  const auto written = fs::last_write_time(file.path());
  fs::last_write_time(file.path(), written + std::chrono::hours(1));  // touched: the same bytes
  CHECK_NOTHROW(trace.require_unchanged());
  const std::string bytes = slurp(file.path());
  const auto changed = [&](const std::string& now) {
    spill(file.path(), now);
    fs::last_write_time(file.path(), written);  // as rsync --times would leave it
    return message_of([&] { trace.require_unchanged(); });
  };
  std::string flipped = bytes;
  flipped[bytes.size() - 40] = static_cast<char>(flipped[bytes.size() - 40] ^ 1);
  CHECK(contains(changed(flipped), "changed while"));
  CHECK(contains(changed(bytes.substr(0, bytes.size() / 2)), "changed while"));
  CHECK(contains(changed(bytes + "x"), "changed while"));
  spill(file.path(), bytes);
  CHECK_NOTHROW(trace.require_unchanged());
  fs::remove(file.path());
  CHECK(contains(message_of([&] { trace.require_unchanged(); }), file.path()));
}

TEST_CASE(
    "a trace overwritten during a run stops it; rows of before stay, none of after are kept") {
  const TempDir dir;
  const std::string trace = dir.file("t.h5"), sweep = dir.file("s.yaml"), out = dir.file("r.h5");
  const std::string bytes = slurp(needle_4k());
  spill(trace, bytes);
  spill(sweep,
        "traces: [t.h5]\noutput: r.h5\npolicies:\n"
        "  - {policy: oracle_top_p, p: {from: 0.5, to: 0.98, step: 0.02}}\n");
  const auto parts = [&] {
    std::size_t n = 0;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(out + ".parts", ignored))
      n += entry.path().extension() == ".h5";
    return n;
  };
  std::size_t before = 0;
  ProgramOptions options;
  options.interrupt_when = [&] {
    if (before == 0 && (before = parts()) > 0) spill(trace, std::string(bytes.size() / 2, '\0'));
    return false;
  };
  const ProgramResult result = run_program({"run", sweep, "-o", out}, dir.path(), options);
  CAPTURE(result.err);
  CHECK(result.code == 2);
  CHECK(contains(result.err, "t.h5"));
  REQUIRE(before > 0);
  CHECK(parts() <= before + 1);  // one may have been on its way to the disk
  CHECK_FALSE(fs::exists(out));
}
