// `doublep tune` as a user runs it: the shipped configuration's choice, and a target that nothing
// meets.
#include <yaml-cpp/yaml.h>

#include <filesystem>

#include "tests/catch.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

const std::string kConfig = kRoot + "/configs/tune.yaml";

}  // namespace

TEST_CASE(
    "of the shipped configuration's one-level rival the cheapest layers of needle-4k are chosen") {
  const TempDir folder;
  const std::string tuned = folder.file("tuned.yaml");
  const auto run = run_program(
      {"tune", kConfig, "--set", "output=" + folder.file("r.h5"), "--set",
       "traces=[" + needle_4k() + "]", "--set",
       "policies=[{policy: cluster_top_p, p: {from: 0.5, to: 0.95, step: 0.05}, gqa: [per_head, "
       "group_sum]}]",
       "-o", tuned},
      folder.path());
  INFO(run.out << run.err);
  REQUIRE(run.code == 0);
  CHECK(run.out.find("parameters per layer: 1.742 MiB") != std::string::npos);  // greedy: 1.862
  const YAML::Node entry = YAML::LoadFile(tuned)["tuned"][0];
  CHECK(entry["policy"].as<std::string>() == "cluster_top_p");
  CHECK(entry["trace_hash"].as<std::string>().size() >= 16);
  CHECK(fs::equivalent(entry["trace_path"].as<std::string>(), needle_4k()));
  CHECK(entry["layers"]["4"]["p"].as<double>() == 0.75);
  CHECK(entry["layers"]["7"]["p"].as<double>() == 0.95);
  CHECK(entry["layers"]["7"]["gqa"].as<std::string>() == "group_sum");
  const std::string sweep = folder.file("s.yaml");  // and `run` takes it, layer by layer
  spill(sweep, "traces: [" + needle_4k() + "]\nreplay: {max_steps: 2}\noutput: " +
                   folder.file("again.h5") + "\npolicies: [{tuned: tuned.yaml}]\n");
  const auto again = run_program({"run", sweep}, folder.path());
  INFO(again.out << again.err);
  CHECK(again.code == 0);
}

TEST_CASE(
    "aimed at the mass attended exactly, no term is paid for: what that costs stands beside it") {
  const TempDir folder;
  const std::string tuned = folder.file("tuned.yaml");
  const auto run = run_program(
      {"tune", kRoot + "/configs/tune_for_the_loop.yaml", "--set", "output=" + folder.file("r.h5"),
       "--set", "traces=[" + needle_4k() + "]", "--set", "replay={max_steps: 8}", "--set",
       "policies=[{policy: double_p, p2: [0.3, 0.5], gqa: group_sum, outside: [drop, estimate]}]",
       "--set", "target={metric: exact_mass, at_least: 0.7}", "-o", tuned},
      folder.path());
  INFO(run.out << run.err);
  REQUIRE(run.code == 0);
  CHECK(run.out.find("there output error is 0.187 on average, 95th percentile 0.507, worst head "
                     "0.426; 0.751 of the mass is attended exactly") != std::string::npos);
  CHECK(run.out.find("outside=estimate") == std::string::npos);  // nor on the Pareto front
  const YAML::Node entry = YAML::LoadFile(tuned)["tuned"][0];
  CHECK(entry["heldout"]["value"].as<double>() == Approx(0.7511).margin(0.0005));
  CHECK(entry["heldout"]["met"].as<bool>());
  for (const char* layer : {"4", "7"}) {  // per_layer: false
    CHECK(entry["layers"][layer]["p2"].as<double>() == 0.3);
    CHECK(entry["layers"][layer]["outside"].as<std::string>() == "drop");
  }
}

TEST_CASE("a target that no candidate meets is exit code 1, and no file") {
  const TempDir folder;
  const std::string tuned = folder.file("tuned.yaml");
  const std::vector<std::string> command = {"tune",  kConfig,
                                            "--set", "output=" + folder.file("r.h5"),
                                            "--set", "policies=[{policy: streaming}]",
                                            "--set", "replay.max_steps=4",
                                            "--set", "target.at_most=1e-6",
                                            "-o",    tuned};
  auto run = run_program(command, folder.path());
  INFO(run.out << run.err);
  CHECK(run.code == 1);
  CHECK(run.out.find("the closest reaches") != std::string::npos);
  CHECK(run.err.find("no candidate meets the target; " + tuned + " is not written") !=
        std::string::npos);
  CHECK_FALSE(fs::exists(tuned));
  spill(tuned, "of yesterday\n");
  run = run_program(command, folder.path());
  CHECK(run.code == 1);
  CHECK(run.err.find(tuned + " is left as it was before this run") != std::string::npos);
  CHECK(slurp(tuned) == "of yesterday\n");
}
