// Rows whose arithmetic overflowed: told, not kept in silence. A trace's values are bounded so that
// the reference cannot come to it; here a run is kept as a faulty decoder would leave it.
#include <algorithm>
#include <cmath>

#include "experiments/results/result_store.h"
#include "experiments/run/runner.h"
#include "tests/catch.h"
#include "tests/support/program.h"
#include "tests/support/trace_file.h"

using namespace doublep;
using namespace doublep::test;

TEST_CASE("rows that overflowed are one line and exit code 1") {
  const TempDir folder;
  const TraceFile file;
  const std::string config = folder.file("s.yaml");
  spill(config,
        "traces: [" + file.path() + "]\noutput: " + folder.file("r.h5") + "\npolicies: [dense]\n");
  const Sweep sweep = load_sweep(config);
  const Trace trace = file.open();
  ReplayResult result = replay(trace, sweep.replay, decoder_factory(sweep, sweep.runs[0]),
                               [](double) { return true; });
  for (Row& row : result.rows)
    if (row.layer == 10) row.output_error = std::nan("");
  FinishedRun run;
  run.key = run_key(sweep, sweep.runs[0], trace.content_hash());
  run.spec = &sweep.runs[0], run.trace = "0";
  ResultStore(sweep).write(run, std::move(result));
  for (int again = 0; again < 2; ++again) {  // from the part, and from the finished file
    const auto ran = run_program({"run", config, "--any-program"}, folder.path());
    INFO(ran.out << ran.err);
    CHECK(ran.code == 1);
    CHECK(ran.out.find("1 were there already") != std::string::npos);
    const auto line = ran.err.find("doublep: toy, dense, layer 10, head 0, step 0: ");
    REQUIRE(line != std::string::npos);
    CHECK(ran.err.find("12 rows") != std::string::npos);  // 4 heads, 3 steps
    CHECK(std::count(ran.err.begin() + static_cast<std::ptrdiff_t>(line), ran.err.end(), '\n') ==
          1);
  }
  CHECK(run_program({"run", config, "--fresh"}, folder.path()).code == 0);
}

TEST_CASE("rows that overflowed in a shard are told where it is merged") {
  const TempDir folder;
  const TraceFile file;
  const std::string config = folder.file("s.yaml"), shard = folder.file("1-of-1.h5");
  spill(config,
        "traces: [" + file.path() + "]\noutput: " + folder.file("r.h5") + "\npolicies: [dense]\n");
  Sweep sweep = load_sweep(config);
  sweep.output = shard;
  const Trace trace = file.open();
  ReplayResult result = replay(trace, sweep.replay, decoder_factory(sweep, sweep.runs[0]),
                               [](double) { return true; });
  result.rows[0].exact_mass = std::nan("");
  FinishedRun run;
  run.key = run_key(sweep, sweep.runs[0], trace.content_hash());
  run.spec = &sweep.runs[0], run.trace = "0";
  ResultStore(sweep).write(run, std::move(result));
  const auto ran =
      run_program({"run", config, "--shard", "1/1", "-o", shard, "--any-program"}, folder.path());
  INFO(ran.out << ran.err);
  REQUIRE(ran.code == 1);
  const auto merged =
      run_program({"merge", shard, "-o", folder.file("r.h5"), "--any-program"}, folder.path());
  INFO(merged.out << merged.err);
  CHECK(merged.code == 1);
  CHECK(merged.out.find("1 runs of 1 shards") != std::string::npos);
  CHECK(merged.err.find("step 0: the output error or mass is no finite number (1 row)") !=
        std::string::npos);
}
