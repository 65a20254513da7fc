// Bad input to the program: one clear line, exit code 2, earlier results intact.
#include "tests/support/program.h"

#include <sys/stat.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "tests/catch.h"
#include "tests/support/paths.h"
#include "tests/support/temp_dir.h"

using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

std::string sweep_text(const std::string& policies) {
  return "traces: [" + needle_4k() + "]\nreplay: {max_steps: 2}\npolicies:\n" + policies;
}

struct Bad {
  std::string text;
  std::vector<std::string> parts;
};

}  // namespace

TEST_CASE("validate refuses bad sweeps in one line that names file, line and remedy") {
  const TempDir folder;
  const fs::path file = fs::path(folder.path()) / "bad.yaml";
  const std::vector<Bad> all = {
      {"traces: [a]\ntraces: [b]\npolicies: []\n", {"bad.yaml:2:1", "duplicate key", "remove"}},
      {"trace: [a]\npolicies: []\n", {"bad.yaml:1:1", "unknown key 'trace'", "known are"}},
      {"traces: []\npolicies: [{policy: dense}]\n", {"bad.yaml:1:9", "empty", "name at least one"}},
      {"traces: [missing.h5]\npolicies: [{policy: dense}]\n", {"bad.yaml:1:10", "no such trace"}},
      {sweep_text("  - {policy: double_p, p1: 0}\n"), {"bad.yaml:4:28", "p1", "(0, 1]"}},
      {sweep_text("  - {policy: double_p, p1: 1.5}\n"), {"bad.yaml:4:28", "p1", "(0, 1]"}},
      {sweep_text("  - {policy: double_p, p1: 0.5, p2: 0.9}\n"), {"bad.yaml:4:", "exceeds p1"}},
      {sweep_text("  - {policy: double_p, p1: []}\n"), {"bad.yaml:4:", "the list is empty"}},
      {sweep_text("  - {policy: double_p, p1: high}\n"), {"bad.yaml:4:", "p1 is high", "real"}},
      {sweep_text("  - {policy: double_p, colour: 1}\n"), {"bad.yaml:4:", "no parameter 'colour'"}},
      {sweep_text("  - {policy: loki, budget: [0.5, 1]}\n"), {"bad.yaml:4:", "budget[1]", "100%"}},
      {sweep_text("  - {policy: quest, budget: 8}\n"), {"bad.yaml:4:", "a page of 16"}},
      {sweep_text("  - {policy: loki, rank: 129}\n"),
       {"bad.yaml", "rank is 129", "head_dim 128", "needle-4k.h5"}},
      {sweep_text("  - {p: 1}\n"), {"bad.yaml:4:", "'policy' is missing"}},
      {"just text\n", {"bad.yaml:1:1", "expected a map"}},
      {"", {"bad.yaml"}},
      {"a: [\n", {"bad.yaml:", "not YAML"}},
  };
  for (const Bad& bad : all) {
    spill(file, bad.text);
    const auto result = run_program({"validate", file.string()}, folder.path());
    INFO(bad.text << " -> " << result.err);
    CHECK(result.code == 2);
    CHECK(is_one_clear_line(result.err, bad.parts));
  }
}

TEST_CASE("a FIFO is no input of any command, and nobody waits for what it may bring") {
  const TempDir folder;
  const std::string fifo = folder.file("f.yaml");
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  spill(folder.file("s.yaml"), "traces: [" + needle_4k() + "]\npolicies: [{tuned: f.yaml}]\n");
  for (const char* workload : {"profiles: [f.yaml]", "traces: [f.yaml]"})
    for (const char* hardware : {"h.yaml", "f.yaml"}) {
      const std::string name = folder.file(std::string(workload).substr(0, 3) + hardware);
      spill(name, std::string("hardware: [") + hardware +
                      "]\nmodels: [m.yaml]\nworkloads: [{name: w, " + workload +
                      "}]\npolicies: [dense]\ndecode: {context: 64}\n");
    }
  const std::string configs = kRoot + "/configs/";
  fs::copy_file(configs + "hardware/h100-sxm.yaml", folder.file("h.yaml"));
  fs::copy_file(configs + "models/llama-3.1-8b.yaml", folder.file("m.yaml"));
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"run", fifo},
                                             {"run", folder.file("s.yaml")},
                                             {"validate", fifo},
                                             {"tune", fifo},
                                             {"simulate", fifo},
                                             {"simulate", folder.file("proh.yaml")},
                                             {"simulate", folder.file("prof.yaml")},
                                             {"simulate", folder.file("trah.yaml")},
                                             {"inspect", fifo},
                                             {"export", fifo},
                                             {"check", fifo, "--baseline", fifo}}) {
    const auto begin = std::chrono::steady_clock::now();
    ProgramOptions options;
    options.interrupt_when = [&] {
      return std::chrono::steady_clock::now() - begin > std::chrono::seconds(20);
    };
    const auto result = run_program(arguments, folder.path(), options);
    INFO(arguments[0] << " " << arguments[1] << ": " << result.err);
    CHECK(result.code == 2);
    CHECK(is_one_clear_line(result.err, {"f.yaml", "pipe"}));
  }
  // What a shell's <(...) and a pipe give.
  for (const char* shell : {"run <(cat \"$1\")", "run /dev/stdin < <(cat \"$1\")"}) {
    const std::string command = std::string("exec \"$0\" ") + shell;
    ProgramOptions options;
    options.program = "/bin/bash";
    const auto result = run_program({"-c", command, DOUBLEP_PROGRAM, folder.file("s.yaml")},
                                    folder.path(), options);
    INFO(shell << ": " << result.err);
    CHECK(result.code == 2);
    CHECK(is_one_clear_line(result.err, {"/dev/", "pipe", "name a regular file"}));
  }
}

TEST_CASE(
    "a limit on memory leaves threads out, not the work, and makes no sound file a damaged one") {
  if (kSanitized) return;  // a sanitizer takes the whole address space
  const TempDir folder;
  spill(folder.file("s.yaml"), sweep_text("  - dense\n"));
  int ran = 0;
  for (std::size_t mib = 32; mib <= 160; mib += 4) {
    ProgramOptions options;
    options.address_limit = mib << 20;
    // Where the kernel cannot even map the program, or the loader its libraries, it never began.
    const auto began = run_program({"--version"}, folder.path(), options);
    if (began.code == 128 + SIGSEGV && (began.out + began.err).empty()) continue;
    if (began.err.find("loading shared libraries") != std::string::npos) continue;
    const auto result = run_program(
        {"run", folder.file("s.yaml"), "--fresh", "-j", "16", "-o", folder.file("r.h5")},
        folder.path(), options);
    INFO(mib << " MiB: " << result.err);
    for (const char* wrong : {"damaged", "truncated", "record it"})
      CHECK(result.err.find(wrong) == std::string::npos);
    if (mib >= 128 || result.code == 0) {
      CHECK(result.code == 0);
      CHECK(result.err.find("threads could be created") != std::string::npos);
      ++ran;
    } else {
      CHECK(result.code == 2);
      CHECK(result.err.find("out of memory; use fewer threads") != std::string::npos);
    }
  }
  CHECK(ran > 0);
}

TEST_CASE("a missing file, a folder and a truncated trace are refused") {
  const TempDir folder;
  const fs::path cut = fs::path(folder.path()) / "cut.h5";
  spill(cut, slurp(needle_4k()).substr(0, 1000000));
  for (const std::string& path : {cut.string(), std::string("/nowhere.h5"),
                                  std::string("/nowhere.yaml"), std::string(folder.path())}) {
    const auto result = run_program({"validate", path}, folder.path());
    INFO(result.err);
    CHECK(result.code == 2);
    CHECK(is_one_clear_line(result.err, {path}));
  }
}

TEST_CASE("an unwritable output is refused before anything is run") {
  const TempDir folder;
  const fs::path file = fs::path(folder.path()) / "s.yaml";
  spill(file, sweep_text("  - policy: dense\n"));
  const auto result =
      run_program({"run", file.string(), "-o", "/proc/nowhere/r.h5"}, folder.path());
  CHECK(result.code == 2);
  CHECK(is_one_clear_line(result.err, {"/proc/nowhere/r.h5", "--output"}));
}

TEST_CASE("a full disk loses nothing that was there") {
  const TempDir folder;
  const fs::path file = fs::path(folder.path()) / "s.yaml",
                 output = fs::path(folder.path()) / "r.h5";
  spill(file, sweep_text("  - policy: streaming\n"));
  REQUIRE(run_program({"run", file.string(), "-o", output.string()}, folder.path()).code == 0);
  const std::string before = slurp(output);
  spill(file, sweep_text("  - policy: streaming\n  - policy: dense\n"));
  const auto full =
      run_program({"run", file.string(), "-o", output.string()}, folder.path(), {4096, {}});
  INFO(full.err);
  CHECK(full.code == 2);
  CHECK(full.err.find("doublep: ") != std::string::npos);
  CHECK(full.err.find("free some room") != std::string::npos);
  CHECK(slurp(output) == before);
  const auto again = run_program({"run", file.string(), "-o", output.string()}, folder.path());
  CHECK(again.code == 0);
  CHECK(again.out.find("2 runs (1 were there already)") != std::string::npos);
  for (const auto& entry : fs::recursive_directory_iterator(folder.path()))
    CHECK(entry.path().extension() != ".partial");
}

TEST_CASE("the same trace or layer twice is refused before anything is run") {
  const TempDir folder;
  const fs::path file = fs::path(folder.path()) / "s.yaml";
  spill(file, "traces: [" + needle_4k() + ", " + needle_4k() + "]\npolicies: [{policy: dense}]\n");
  auto result = run_program({"validate", file.string()}, folder.path());
  CHECK(result.code == 2);
  CHECK(is_one_clear_line(result.err, {"same trace", "name it once"}));
  spill(file,
        "traces: [" + needle_4k() + "]\nreplay: {layers: [4, 4]}\npolicies: [{policy: dense}]\n");
  result = run_program({"validate", file.string()}, folder.path());
  CHECK(result.code == 2);
  CHECK(is_one_clear_line(result.err, {"s.yaml:2:", "twice"}));
}

TEST_CASE("a damaged result is found and done again") {
  const TempDir folder;
  const fs::path file = fs::path(folder.path()) / "s.yaml",
                 output = fs::path(folder.path()) / "r.h5";
  spill(file, sweep_text("  - policy: dense\n"));
  const std::vector<std::string> run = {"run", file.string(), "-o", output.string()};
  REQUIRE(run_program(run, folder.path()).code == 0);
  const std::string good = run_program({"export", output.string()}, folder.path()).out;
  std::string bytes = slurp(output);
  // The rows are the largest thing in the file: flip bits all along its middle.
  for (std::size_t i = bytes.size() / 4; i < 3 * bytes.size() / 4; i += 16) bytes[i] ^= 0x5A;
  spill(output, bytes);
  const auto again = run_program(run, folder.path());
  INFO(again.err);
  CHECK(again.code == 0);
  CHECK(again.out.find("(0 were there already)") != std::string::npos);
  CHECK(run_program({"export", output.string()}, folder.path()).out == good);
}

TEST_CASE("output to a full device is an error") {
  const TempDir folder;
  if (!fs::is_character_file("/dev/full")) return doublep::test::skip("no /dev/full here");
  const std::string command = std::string(DOUBLEP_PROGRAM) + " policies > /dev/full 2> " +
                              (fs::path(folder.path()) / "err").string();
  const int status = std::system(command.c_str());
  CHECK(WEXITSTATUS(status) == 2);
}

TEST_CASE("files that are no result or baseline are refused by check and export") {
  const TempDir folder;
  const std::string text = (fs::path(folder.path()) / "x.yaml").string();
  spill(text, "format: something\n");
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"export", needle_4k()},
                                                    {"export", text},
                                                    {"export", "/nowhere.h5"},
                                                    {"check", needle_4k(), "--baseline", text}}) {
    const auto result = run_program(arguments, folder.path());
    INFO(result.err);
    CHECK(result.code == 2);
    CHECK(is_one_clear_line(result.err, {arguments[1]}));
  }
}

TEST_CASE("unknown subcommands and options exit with 2, help with 0") {
  const TempDir folder;
  CHECK(run_program({"frobnicate"}, folder.path()).code == 2);
  CHECK(run_program({"run"}, folder.path()).code == 2);
  CHECK(run_program({"run", "a.yaml", "--jobs", "-1"}, folder.path()).code == 2);
  CHECK(run_program({"--help"}, folder.path()).code == 0);
  CHECK(run_program({"run", "--help"}, folder.path()).code == 0);
}

TEST_CASE("a small stack is enough, with a limit on memory and without") {
  if (kSanitized) return;  // a sanitizer's frames are larger
  const TempDir folder;
  for (const char* limit : {"ulimit -s 512", "ulimit -s 512; ulimit -v 400000"}) {
    ProgramOptions options;
    options.program = "/bin/bash";
    const std::string command = std::string(limit) + "; exec \"$0\" validate \"$1\"";
    const auto result =
        run_program({"-c", command, DOUBLEP_PROGRAM, needle_4k()}, folder.path(), options);
    INFO(limit << ": " << result.err);
    CHECK(result.code == 0);
  }
}
