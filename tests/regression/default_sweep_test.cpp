// The main job end to end: the default sweep against its stored figures, whole and interrupted.
#include <filesystem>

#include "experiments/results/result_reader.h"
#include "tests/catch.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

const std::string kSweep = kRoot + "/configs/default.yaml";
const std::string kBaseline = kRoot + "/configs/baselines/default.yaml";

std::size_t parts_in(const fs::path& folder) {
  std::error_code none;
  std::size_t n = 0;
  for (const auto& entry : fs::directory_iterator(folder, none))
    n += entry.path().extension() == ".h5";
  return n;
}

}  // namespace

TEST_CASE("the default sweep gives the stored figures, and a second run finds everything there",
          "[heavy]") {
  const TempDir folder;
  const std::string output = folder.file("default.h5");
  const auto run = run_program({"run", kSweep, "-o", output}, folder.path());
  INFO(run.err);
  REQUIRE(run.code == 0);
  const auto check = run_program({"check", output, "--baseline", kBaseline}, folder.path());
  INFO(check.out << check.err);
  CHECK(check.code == 0);
  const auto again = run_program({"run", kSweep, "-o", output}, folder.path());
  CHECK(again.out.find("44 runs (44 were there already)") != std::string::npos);
}

TEST_CASE("the first steps of the default sweep, run otherwise", "[heavy]") {
  const TempDir folder;
  const auto sweep = [](const std::string& output, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words = {"run", kSweep, "-o", output, "--set", "replay.max_steps=8"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const std::string output = folder.file("default.h5");
  const auto run = run_program(sweep(output), folder.path());
  INFO(run.err);
  REQUIRE(run.code == 0);

  SECTION("interrupted, continued, and continued again: the same table") {
    const fs::path second = folder.file("second.h5");
    const fs::path parts = second.string() + ".parts";
    std::size_t target = 3;
    for (int stop = 0; stop < 2; ++stop, target += 8) {
      ProgramOptions options;
      options.interrupt_when = [&] { return parts_in(parts) >= target; };
      const auto stopped = run_program(sweep(second.string()), folder.path(), options);
      INFO(stopped.err);
      REQUIRE(stopped.code == 130);
      CHECK(stopped.err.find("the same command continues there") != std::string::npos);
      CHECK(parts_in(parts) >= target);
      CHECK(!fs::exists(second));
    }
    const auto rest = run_program(sweep(second.string()), folder.path());
    CHECK(rest.code == 0);
    CHECK(rest.out.find("(0 were there already)") == std::string::npos);
    CHECK(!fs::exists(parts));
    const auto first_table = run_program({"export", output}, folder.path());
    const auto second_table = run_program({"export", second.string()}, folder.path());
    CHECK(first_table.out == second_table.out);
    CHECK(first_table.out.size() > 1000000);
  }
  SECTION("another k-means seed cannot be compared") {
    const std::string baseline = folder.file("baseline.yaml"), other = folder.file("seeded.h5");
    REQUIRE(
        run_program({"check", output, "--baseline", baseline, "--update"}, folder.path()).code ==
        0);
    CHECK(run_program({"check", output, "--baseline", baseline}, folder.path()).code == 0);
    const auto seeded =
        run_program(sweep(other, {"--set", "double_p.kmeans_seed=1"}), folder.path());
    REQUIRE(seeded.code == 0);
    const auto refused = run_program({"check", other, "--baseline", baseline}, folder.path());
    CHECK(refused.code == 2);
    CHECK(refused.out.find("kmeans_seed") != std::string::npos);
  }
}
