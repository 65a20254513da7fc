// Values that are finite, and sums of them that are not: told, not stored in silence.
#include <algorithm>

#include "tests/catch.h"
#include "tests/support/program.h"
#include "tests/support/trace_file.h"

using namespace doublep::test;

TEST_CASE("rows that overflowed are one line and exit code 1") {
  const TempDir folder;
  const TraceFile trace;
  const std::string config = folder.file("s.yaml");
  spill(config, "traces: [" + trace.path() + "]\noutput: " + folder.file("r.h5") +
                    "\npolicies: [{policy: dense}]\n");
  REQUIRE(run_program({"run", config}, folder.path()).code == 0);
  const std::vector<float> large(TraceFile::kKvHeads * TraceFile::kTokens * TraceFile::kDim, 3e38f);
  trace.replace("layers/10/values", TraceFile::cache_shape(), H5T_IEEE_F32LE, H5T_NATIVE_FLOAT,
                large.data());
  for (int again = 0; again < 2; ++again) {  // also where the rows were there already
    const auto run = run_program({"run", config}, folder.path());
    INFO(run.err);
    CHECK(run.code == 1);
    const auto line = run.err.find("doublep: toy, dense, layer 10, head 0, step 0: ");
    REQUIRE(line != std::string::npos);
    CHECK(run.err.find("12 rows") != std::string::npos);  // 4 heads, 3 steps
    CHECK(std::count(run.err.begin() + static_cast<std::ptrdiff_t>(line), run.err.end(), '\n') ==
          1);
  }
}
