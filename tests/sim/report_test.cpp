// What is committed is what the program gives: the reports under analysis/results/, line by line,
// and the measured points they are fitted to, predicted within what the project asks for.
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "experiments/simulate/inputs.h"
#include "experiments/simulate/plan.h"
#include "sim/calibration/calibrate.h"
#include "tests/catch.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::sim;
using namespace doublep::test;

namespace {

std::string python() {
  const char* given = std::getenv("PYTHON");
  return given ? given : "/usr/bin/python3";
}
bool have_python() {
  return std::system((python() + " -c 'import h5py, matplotlib, numpy' 2>/dev/null").c_str()) == 0;
}

// Lines of a report but the one that names the commit it was written at.
std::vector<std::string> lines_of(const std::string& path) {
  std::istringstream text(slurp(path));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);)
    if (line.rfind("Configuration ", 0) != 0) lines.push_back(line);
  return lines;
}

void check_reproduced(const std::string& config, const std::string& committed) {
  if (!have_python()) return skip("no python3 with h5py, matplotlib and numpy");
  const TempDir folder;
  const std::string result = folder.file("r.h5"), out = folder.file("report");
  const auto run =
      run_program({"simulate", kRoot + "/configs/" + config, "-o", result}, folder.path());
  INFO(run.err);
  REQUIRE(run.code == 0);
  const std::string command = python() + " " + kRoot + "/analysis/simulation/report.py " + result +
                              " --out " + out + " --format md >/dev/null";
  REQUIRE(std::system(command.c_str()) == 0);
  const auto wanted = lines_of(kRoot + "/analysis/results/" + committed + "/simulation.md"),
             found = lines_of(out + "/simulation.md");
  INFO("write it anew with analysis/regenerate.sh simulation");
  REQUIRE(found.size() == wanted.size());
  std::size_t different = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    INFO("line " << i + 1);
    if (found[i] != wanted[i] && different++ < 5) CHECK(found[i] == wanted[i]);
  }
  CHECK(different == 0);
}

}  // namespace

TEST_CASE("The committed simulation report is reproduced", "[sim]") {
  check_reproduced("simulate.yaml", "simulation");
}

TEST_CASE("The committed report of time against accuracy is reproduced", "[sim]") {
  check_reproduced("simulate_accuracy.yaml", "simulation_accuracy");
}

TEST_CASE("The committed report of crossovers and answers is reproduced", "[sim]") {
  check_reproduced("simulate_crossover.yaml", "simulation_crossover");
}

TEST_CASE("A committed profile is recorded again: the same work, line by line", "[sim]") {
  const TempDir folder;  // the trace that is shipped; sim/profiles/record.sh has all of them
  const auto run = run_program(
      {"simulate", kRoot + "/configs/simulate.yaml", "--set", "measure.every_step=4", "--set",
       "workloads=[{name: needle, traces: [" + needle_4k() + "]}]", "--record", folder.path()},
      folder.path());
  INFO(run.err);
  REQUIRE(run.code == 0);
  const auto found = lines_of(folder.file("needle.tsv")),
             wanted = lines_of(kRoot + "/sim/profiles/needle.tsv");
  REQUIRE(wanted.size() > found.size());  // the longer trace comes after
  int policies = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    policies += found[i].rfind("policy\t", 0) == 0;
    if (found[i].rfind("quality\t", 0) != 0) {
      CHECK(found[i] == wanted[i]);
      continue;
    }
    // A mean error in floating point: its last digits are the compiler's.
    std::istringstream mine(found[i].substr(8)), theirs(wanted[i].substr(8));
    for (double a, b; mine >> a && theirs >> b;) CHECK(std::abs(a - b) < 1e-8);
  }
  CHECK(policies == 7);
}

TEST_CASE("The committed measurements are predicted as well as the project asks for", "[sim]") {
  const SimulationPlan plan = load_plan(kRoot + "/configs/simulate.yaml");
  REQUIRE_FALSE(plan.calibration.points.empty());
  const Hardware hardware =
      load_hardware(kRoot + "/configs/hardware/" + plan.calibration.hardware + ".yaml");
  const Calibration c =
      calibrate(hardware, load_measured(plan.calibration.points), {plan.calibration.hold_out});
  CHECK(c.held_out.points >= 5);
  CHECK(c.held_out.median < 0.06);
  CHECK(c.held_out.worst < 0.25);
}
