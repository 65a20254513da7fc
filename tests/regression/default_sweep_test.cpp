// The main job end to end: the default sweep against its stored figures, whole and interrupted.
#include <filesystem>

#include "experiments/results/result_reader.h"
#include "tests/catch.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

const std::string kSource = DOUBLEP_SOURCE_DIR;
const std::string kSweep = kSource + "/configs/default.yaml";
const std::string kBaseline = kSource + "/configs/baselines/default.yaml";

std::size_t parts_in(const fs::path& folder) {
  std::error_code none;
  std::size_t n = 0;
  for (const auto& entry : fs::directory_iterator(folder, none))
    n += entry.path().extension() == ".h5";
  return n;
}

}  // namespace

TEST_CASE("the default sweep gives the stored figures, and the gate sees what does not",
          "[heavy]") {
  const TempDir folder;
  const fs::path output = fs::path(folder.path()) / "default.h5";
  const auto run = run_program({"run", kSweep, "-o", output.string()}, folder.path());
  INFO(run.err);
  REQUIRE(run.code == 0);
  const auto check =
      run_program({"check", output.string(), "--baseline", kBaseline}, folder.path());
  INFO(check.out << check.err);
  CHECK(check.code == 0);

  SECTION("interrupted, continued, and continued again: the same table") {
    const fs::path second = fs::path(folder.path()) / "second.h5";
    const fs::path parts = second.string() + ".parts";
    std::size_t target = 3;
    for (int stop = 0; stop < 2; ++stop, target += 8) {
      ProgramOptions options;
      options.interrupt_when = [&] { return parts_in(parts) >= target; };
      const auto stopped =
          run_program({"run", kSweep, "-o", second.string()}, folder.path(), options);
      INFO(stopped.err);
      REQUIRE(stopped.code == 130);
      CHECK(stopped.err.find("the same command continues there") != std::string::npos);
      CHECK(parts_in(parts) >= target);
      CHECK(!fs::exists(second));
    }
    const auto rest = run_program({"run", kSweep, "-o", second.string()}, folder.path());
    CHECK(rest.code == 0);
    CHECK(rest.out.find("(0 were there already)") == std::string::npos);
    CHECK(!fs::exists(parts));
    const auto first_table = run_program({"export", output.string()}, folder.path());
    const auto second_table = run_program({"export", second.string()}, folder.path());
    CHECK(first_table.out == second_table.out);
    CHECK(first_table.out.size() > 1000000);
  }
  SECTION("another k-means seed cannot be compared, and a changed row is a regression") {
    const auto seeded =
        run_program({"run", kSweep, "-o", (fs::path(folder.path()) / "s.h5").string(), "--set",
                     "double_p.kmeans_seed=1"},
                    folder.path());
    REQUIRE(seeded.code == 0);
    const auto refused =
        run_program({"check", (fs::path(folder.path()) / "s.h5").string(), "--baseline", kBaseline},
                    folder.path());
    CHECK(refused.code == 2);
    CHECK(refused.out.find("kmeans_seed") != std::string::npos);
  }
  SECTION("a second run finds everything there") {
    const auto again = run_program({"run", kSweep, "-o", output.string()}, folder.path());
    CHECK(again.out.find("40 runs (40 were there already)") != std::string::npos);
  }
}
