// Long caches: in bounded memory, with every default.
#include <filesystem>

#include "experiments/results/result_reader.h"
#include "tests/catch.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::test;

namespace {

struct Long {
  double seconds = 0;
  long peak_mebibytes = 0;
  ResultFile result;
};

// One layer with one KV head of 128 dimensions and four query heads.
Long replay_long(std::int64_t tokens, std::int64_t steps, const std::string& mebibytes) {
  const TempDir dir;
  const std::string trace = dir.file("long.h5");
  REQUIRE(
      run_program({"synth", "-o", trace, "--tokens", std::to_string(tokens), "--steps",
                   std::to_string(steps), "--layers", "1", "--kv-heads", "1", "--query-heads", "4"},
                  dir.path())
          .code == 0);
  spill(dir.file("s.yaml"), "traces: [long.h5]\npolicies: [dense, quest, double_p]\n");
  const auto start = std::chrono::steady_clock::now();
  const auto run = run_program({"run", dir.file("s.yaml"), "-o", dir.file("r.h5"), "--truth-memory",
                                mebibytes, "--jobs", "2"},
                               dir.path());
  INFO(run.err);
  REQUIRE(run.code == 0);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return {seconds.count(), run.peak_kilobytes / 1024, ResultFile::load(dir.file("r.h5"))};
}

double worst_error(const StoredRun& run) {
  double worst = 0;
  for (const Row& row : run.rows) worst = std::max(worst, row.output_error);
  return worst;
}

}  // namespace

TEST_CASE("128K tokens in 256 MiB, by three policies with their defaults") {
  if (kSanitized) return;  // memory and time are the sanitizer's
  const Long all = replay_long(131072, 2, "160");
  REQUIRE(all.result.runs.size() == 3);
  CHECK(all.peak_mebibytes < 256);  // keys and values alone are 128
  CHECK(worst_error(all.result.runs[0]) < 2e-6);
  CHECK(worst_error(all.result.runs[2]) < 0.5);
}

TEST_CASE("a million tokens in 2 GiB, by three policies with their defaults", "[.long]") {
  const Long all = replay_long(1 << 20, 4, "2048");
  WARN("a million tokens: " << all.seconds << " s, " << all.peak_mebibytes << " MiB");
  REQUIRE(all.result.runs.size() == 3);
  CHECK(all.peak_mebibytes < 2048);
  CHECK(worst_error(all.result.runs[0]) < 1e-5);
  CHECK(worst_error(all.result.runs[2]) < 0.5);
}
