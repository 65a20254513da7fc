// Expansion of sweeps: products, defaults, overrides, labels, keys.
#include "experiments/config/sweep.h"

#include <filesystem>

#include "experiments/results/result_store.h"
#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::test;

namespace {

Sweep sweep_of(const std::string& policies, const std::vector<std::string>& overrides = {}) {
  const TempDir folder;
  const auto file = std::filesystem::path(folder.path()) / "s.yaml";
  spill(file, "traces: [" + needle_4k() + "]\n" + policies);
  return load_sweep(file.string(), overrides);
}

std::string sweep_refusal(const std::string& policies,
                          const std::vector<std::string>& overrides = {}) {
  try {
    sweep_of(policies, overrides);
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("parameter lists multiply out, the last key fastest, and label what varies") {
  const Sweep s = sweep_of("policies:\n  - {policy: double_p, p1: [0.9, 0.95], p2: [0.5, 0.7]}\n");
  REQUIRE(s.runs.size() == 4);
  CHECK(s.runs[0].label == "double_p p1=0.9 p2=0.5");
  CHECK(s.runs[1].label == "double_p p1=0.9 p2=0.7");
  CHECK(s.runs[3].label == "double_p p1=0.95 p2=0.7");
  CHECK(s.runs[3].parameters.integer("window") == 64);
}

TEST_CASE("defaults reach the policies that declare them, and an entry's own value wins") {
  const Sweep s = sweep_of(
      "defaults: {window: 128}\npolicies:\n  - policy: dense\n  - policy: streaming\n"
      "  - {policy: streaming, window: 32}\n");
  CHECK(s.runs[1].parameters.integer("window") == 128);
  CHECK(s.runs[2].parameters.integer("window") == 32);
}

TEST_CASE("a variant of a policy multiplies out like a parameter, and names its runs") {
  const Sweep s = sweep_of(
      "defaults: {window: 32}\npolicies:\n"
      "  - {policy: double_p, variant: best, share: [0.02, 0.04]}\n"
      "  - {policy: double_p, variant: [paper, best], share: 0.04, estimator: jensen}\n");
  REQUIRE(s.runs.size() == 4);
  CHECK(s.runs[0].label == "double_p best estimator=pooled share=0.02");
  CHECK(s.runs[0].parameters.choice("estimator") == "pooled");
  CHECK(s.runs[0].parameters.choice("stop") == "share");
  CHECK(s.runs[0].parameters.integer("window") == 32);
  CHECK(s.runs[2].label == "double_p paper");
  CHECK(s.runs[2].parameters.choice("stop") == "mass");
  CHECK(s.runs[3].label == "double_p best estimator=jensen share=0.04");
  const std::string unknown = sweep_refusal("policies: [{policy: double_p, variant: bset}]\n");
  CHECK(contains(unknown, "no variant is called 'bset'; there are paper, best"));
  CHECK(contains(unknown, "s.yaml:2:"));
}

TEST_CASE("the same run twice is done once, and counted") {
  const Sweep s = sweep_of(
      "policies:\n  - {policy: oracle_top_p, p: [0.9, 0.95]}\n  - {policy: oracle_top_p, p: "
      "0.95}\n");
  CHECK(s.runs.size() == 2);
  CHECK(s.duplicates == 1);
}

TEST_CASE("--set overrides the root, or a parameter of every entry of a policy") {
  const std::string text =
      "seed: 3\npolicies:\n  - {policy: double_p, p1: 0.9}\n  - policy: dense\n";
  CHECK(sweep_of(text, {"seed=7"}).seeds == std::vector<std::uint64_t>{7});
  CHECK(sweep_of(text, {"double_p.p2=[0.1, 0.2]"}).runs.size() == 3);
  CHECK(sweep_of(text, {"replay.max_steps=2"}).replay.max_steps == 2);
  CHECK(sweep_refusal(text, {"seed"}).find("expected key=value") != std::string::npos);
  CHECK(sweep_refusal(text, {"colour=7"}).find("unknown key 'colour'") != std::string::npos);
}

TEST_CASE("a refusal names the line and key of the parameter at fault") {
  CHECK(sweep_refusal("policies:\n  - policy: double_p\n    p1: 0.0\n")
            .find("s.yaml:4:9: policies[0].p1") != std::string::npos);
  CHECK(sweep_refusal("policies:\n  - {policy: double_p, p1: 0.5, p2: 0.7}\n")
            .find("p2 (0.7) exceeds p1") != std::string::npos);
  CHECK(sweep_refusal("defaults: {p: 2}\npolicies:\n  - policy: oracle_top_p\n")
            .find(":2:15: defaults.p") != std::string::npos);
  CHECK(sweep_refusal("policies:\n  - policy: nope\n").find("no policy is called 'nope'") !=
        std::string::npos);
  CHECK(sweep_refusal("backend: gpu\npolicies:\n  - policy: dense\n")
            .find("expected cpu, cuda or auto") != std::string::npos);
  CHECK(sweep_refusal("kv_dtype: int4\npolicies:\n  - policy: dense\n")
            .find("fp32, fp16, bf16 or fp8") != std::string::npos);
}

TEST_CASE("a run's key moves with everything that moves its rows, and with nothing else") {
  const std::string text = "policies:\n  - policy: double_p\n";
  const Sweep base = sweep_of(text);
  const auto key = [](const Sweep& s, const std::string& hash) {
    return run_key(s, s.runs[0], hash);
  };
  const std::string reference = key(base, "aa");
  CHECK(key(sweep_of("name: other\noutput: elsewhere.h5\n" + text), "aa") == reference);
  CHECK(key(sweep_of(text, {"double_p.p1=0.95"}), "aa") == reference);  // the default, spelled out
  for (const char* change : {"seed=1", "double_p.p1=0.96", "kv_dtype=fp8", "target_mass=0.5",
                             "replay.every_step=2", "backend=auto"})
    CHECK(key(sweep_of(text, {change}), "aa") != reference);
  CHECK(key(base, "ab") != reference);
}
