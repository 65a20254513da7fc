// What a sweep is made of besides lists: bare names, seeds, combinations left out, tuned files; and
// how many runs it may come to.
#include <chrono>
#include <set>

#include "experiments/config/sweep.h"
#include "experiments/results/result_store.h"
#include "tests/support/message.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::test;

namespace {

struct Folder : TempDir {
  Sweep sweep(const std::string& text, const std::vector<std::string>& overrides = {},
              bool any_number = false) const {
    spill(file("s.yaml"), "traces: [" + needle_4k() + "]\n" + text);
    return load_sweep(file("s.yaml"), overrides, any_number);
  }
  std::string refusal(const std::string& text,
                      const std::vector<std::string>& overrides = {}) const {
    return message_of([&] { sweep(text, overrides); });
  }
};

}  // namespace

TEST_CASE("a bare name is a policy with its defaults") {
  const Folder folder;
  const Sweep s = folder.sweep("policies: [dense, {policy: double_p, p1: 0.9}, streaming]\n");
  REQUIRE(s.runs.size() == 3);
  CHECK(s.runs[0].policy == "dense");
  CHECK(s.runs[2].parameters.to_json() ==
        folder.sweep("policies: [{policy: streaming}]\n").runs[0].parameters.to_json());
  CHECK(contains(folder.refusal("policies: [dens]\n"), "s.yaml:2:12: policies[0]: no policy"));
  // --set reaches it as it does the long form.
  CHECK(folder.sweep("policies: [streaming]\n", {"streaming.window=32"})
            .runs[0]
            .parameters.integer("window") == 32);
  CHECK(folder.sweep("defaults: {window: 16}\npolicies: [streaming]\n")
            .runs[0]
            .parameters.integer("window") == 16);
}

TEST_CASE("errors of --set point at --set") {
  const Folder folder;
  const std::string text = "policies:\n  - {policy: double_p, p1: 0.9}\n  - dense\n";
  CHECK(folder.refusal(text, {"double_p.p1=2"}).rfind("--set double_p.p1=2: policies[0].p1: ", 0) ==
        0);
  CHECK(folder.refusal(text, {"double_p.colour=2"}).rfind("--set double_p.colour=2: ", 0) == 0);
  CHECK(folder.refusal(text, {"dense.x=2"}).rfind("--set dense.x=2: ", 0) == 0);
  CHECK(folder.refusal(text, {"replay.max_steps=-1"}).rfind("--set replay.max_steps=-1: ", 0) == 0);
  CHECK(folder.refusal(text, {"traces=[none.h5]"}).rfind("--set traces=[none.h5]: ", 0) == 0);
  CHECK(folder.refusal(text, {"colour=7"}).rfind("--set colour=7: unknown key", 0) == 0);
}

TEST_CASE("a list of seeds is an axis: of the key, the label and the configuration") {
  const Folder folder;
  const std::string text = "policies: [dense, {policy: double_p, p1: [0.9, 0.95]}]\n";
  const Sweep s = folder.sweep("seed: [0, 1, 7]\n" + text);
  REQUIRE(s.runs.size() == 9);
  CHECK(s.runs[0].label == "dense seed=0");
  CHECK(s.runs[5].label == "double_p p1=0.9 seed=7");
  CHECK(s.runs[5].seed == 7);
  std::set<std::string> keys;
  for (const RunSpec& run : s.runs) keys.insert(run_key(s, run, "aa"));
  CHECK(keys.size() == 9);
  // A run of a list is the run of that seed alone: what is there already is reused.
  const Sweep one = folder.sweep("seed: 7\n" + text);
  CHECK(run_key(one, one.runs[1], "aa") == run_key(s, s.runs[5], "aa"));
  CHECK(one.runs[1].label == "double_p p1=0.9");
  CHECK(config_hash(one, {"aa"}) != config_hash(s, {"aa"}));
  CHECK(contains(folder.refusal("seed: [0, 0]\n" + text), "s.yaml:2:7: seed: the seed 0 is named"));
  CHECK(contains(folder.refusal("seed: [0, -1]\n" + text), "at least 0"));
  CHECK(contains(folder.refusal("seed: [0, 1.5]\n" + text), "not '1.5'"));
}

TEST_CASE("impossible combinations are skipped where that is asked for, and counted") {
  const Folder folder;
  const std::string text = "policies: [{policy: double_p, p1: [0.5, 0.9], p2: [0.3, 0.7, 0.9]}]\n";
  CHECK(contains(folder.refusal(text), "exceeds p1"));
  const Sweep s = folder.sweep("skip_invalid: true\n" + text);
  CHECK(s.runs.size() == 4);
  CHECK(s.skipped == 2);
  // What is wrong by itself is no combination, and an entry that comes to nothing is a mistake.
  CHECK(
      contains(folder.refusal("skip_invalid: true\npolicies: [{policy: double_p, p1: [0.9, 2]}]\n"),
               "p1 is 2"));
  CHECK(contains(
      folder.refusal("skip_invalid: true\npolicies: [{policy: double_p, p1: 0.5, p2: 0.7}]\n"),
      "exceeds p1"));
}

TEST_CASE("a sweep above 100000 runs is counted before it is expanded, and asks for --yes") {
  const Folder folder;
  const std::string range = "{from: 0.01, to: 0.99, count: 200}";
  const std::string text = "policies: [{policy: double_p, p1: " + range + ", p2: " + range +
                           ", window: {from: 1, to: 200, step: 1}}]\n";
  const auto start = std::chrono::steady_clock::now();
  const std::string message = folder.refusal(text);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  CHECK(contains(message, "8000000 runs"));
  CHECK(contains(message, "--yes"));
  // Seeds count too; and who means it gets it.
  const std::string small = "policies: [{policy: streaming, window: {from: 1, to: 60, step: 1}}]\n";
  CHECK(contains(folder.refusal("seed: {from: 0, to: 1999, step: 1}\n" + small), "120000 runs"));
  CHECK(folder.sweep("seed: {from: 0, to: 1999, step: 1}\n" + small, {}, true).runs.size() ==
        120000);
}

TEST_CASE("a name is part of a file name") {
  const Folder folder;
  for (const char* bad : {"''", "a/b", "..", "\"a\\nb\"", "\"\\x1b[2J\""})
    CHECK(contains(folder.refusal("name: " + std::string(bad) + "\npolicies: [dense]\n"),
                   "s.yaml:2:7: name: names files"));
  CHECK(contains(folder.refusal("name: " + std::string(300, 'x') + "\npolicies: [dense]\n"),
                 "names files"));
  CHECK(folder.sweep("name: a b\npolicies: [dense]\n").output == "results/a b.h5");
}

TEST_CASE("numbers no parameter can hold are refused") {
  const Folder folder;
  for (const char* window : {"1e300", "99999999999999999999", "{from: 1e300, to: 1e300, count: 2}",
                             "[1e300]", ".inf", "1.5"})
    CHECK(contains(
        folder.refusal("policies: [{policy: streaming, window: " + std::string(window) + "}]\n"),
        "s.yaml:2:"));
}

TEST_CASE("a tuned entry stands for what tune wrote, per layer where layers differ") {
  const Folder folder;
  spill(
      folder.file("tuned.yaml"),
      "target: output_error at most 0.05\ntuned:\n"
      "  - {trace: needle, policy: double_p, heldout: {met: true}, layers: {4: {p1: 0.9, p2: 0.5}, "
      "7: {p1: 0.9, p2: 0.7}}}\n"
      "  - {trace: code, policy: double_p, layers: {4: {p1: 0.8, p2: 0.5}, 7: {p1: 0.8, p2: "
      "0.5}}}\n"
      "  - {trace: code, policy: streaming, layers: {4: {window: 32}, 7: {window: 64}}}\n");
  const Sweep s = folder.sweep("policies: [dense, {tuned: tuned.yaml}]\n");
  REQUIRE(s.runs.size() == 4);
  CHECK(s.runs[1].label == "double_p tuned=needle");
  CHECK(s.runs[1].of_layer(4).real("p2") == 0.5);
  CHECK(s.runs[1].of_layer(7).real("p2") == 0.7);
  const std::string json = s.runs[1].parameters_json();
  CHECK(contains(json, "\"p1\": 0.9,"));
  CHECK(contains(json, "\"p2\": {\"4\": 0.5, \"7\": 0.7}"));
  // The same in every layer: the run that it would be without the file.
  CHECK(s.runs[2].by_layer.empty());
  const Sweep plain = folder.sweep("policies: [{policy: double_p, p1: 0.8, p2: 0.5}]\n");
  CHECK(run_key(s, s.runs[2], "aa") == run_key(plain, plain.runs[0], "aa"));
  CHECK(run_key(s, s.runs[1], "aa") != run_key(s, s.runs[2], "aa"));
  // One policy, one trace; the file is an input, and errors lie in it.
  CHECK(folder.sweep("policies: [{tuned: tuned.yaml, trace: code, policy: streaming}]\n")
            .runs.size() == 1);
  CHECK(contains(folder.refusal("policies: [{tuned: tuned.yaml, trace: prose}]\n"),
                 "holds nothing of that"));
  CHECK(std::count(s.inputs.begin(), s.inputs.end(), folder.file("tuned.yaml")) == 1);
  CHECK(contains(message_of([&] { load_sweep(folder.file("tuned.yaml")); }),
                 "policies: [{tuned: FILE}]"));
  spill(folder.file("tuned.yaml"), "tuned:\n  - {policy: double_p, layers: {0: {p1: 2}}}\n");
  CHECK(contains(folder.refusal("policies: [{tuned: tuned.yaml}]\n"), "tuned.yaml:2:"));
}
