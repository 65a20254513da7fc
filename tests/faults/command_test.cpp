// The command line as a new user meets it: names, versions, kinds of files, terminals.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"
#include "tests/support/trace_file.h"

using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

std::string one_layer_sweep(const std::string& policies) {
  return "traces: [" + needle_4k() +
         "]\nreplay: {max_steps: 2, layers: [4]}\npolicies: " + policies + "\n";
}

// doublep ARGUMENTS... with stderr on a terminal of so many columns; what the terminal got.
std::string on_terminal(const std::vector<std::string>& arguments, int columns,
                        const std::string& term, const std::string& no_color) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  REQUIRE(master >= 0);
  REQUIRE((grantpt(master) == 0 && unlockpt(master) == 0));
  const std::string name = ptsname(master);
  const int slave = open(name.c_str(), O_RDWR | O_NOCTTY);
  winsize size = {};
  size.ws_col = static_cast<unsigned short>(columns), size.ws_row = 24;
  REQUIRE(ioctl(slave, TIOCSWINSZ, &size) == 0);
  std::vector<char*> argv = {const_cast<char*>(DOUBLEP_PROGRAM)};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    setenv("TERM", term.c_str(), 1);
    no_color.empty() ? unsetenv("NO_COLOR") : setenv("NO_COLOR", no_color.c_str(), 1);
    dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
    dup2(slave, STDERR_FILENO);
    execv(DOUBLEP_PROGRAM, argv.data());
    _exit(127);
  }
  close(slave);
  std::string got;
  char buffer[4096];
  for (ssize_t n; (n = read(master, buffer, sizeof buffer)) > 0;) got.append(buffer, n);
  close(master);
  int status = 0;
  waitpid(child, &status, 0);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  return got;
}

}  // namespace

TEST_CASE("--version names the commit, the compiler and the libraries") {
  const TempDir folder;
  const auto result = run_program({"--version"}, folder.path());
  CHECK(result.code == 0);
  CHECK(result.err.empty());
  for (const char* part : {"commit ", "GNU", "HDF5 1.", "Eigen 3.", "yaml-cpp 0.", "CUDA "})
    CHECK(contains(result.out, part));
}

TEST_CASE("an unknown command gets a suggestion, where one is near") {
  const TempDir folder;
  for (const auto& [word, meant] : {std::pair{"rum", "'run'"},
                                    {"vaildate", "'validate'"},
                                    {"exprot", "'export'"},
                                    {"polices", "'policies'"}}) {
    const auto result = run_program({word, "x"}, folder.path());
    INFO(result.err);
    CHECK(result.code == 2);
    CHECK(is_one_clear_line(result.err, {word, std::string("did you mean ") + meant, "--help"}));
  }
  const auto far = run_program({"frobnicate"}, folder.path());
  CHECK(far.code == 2);
  CHECK(is_one_clear_line(far.err, {"there is no command 'frobnicate'"}));
  CHECK(!contains(far.err, "did you mean"));
  const auto escape = run_program({"\x1b[2J\n"}, folder.path());
  CHECK(is_one_clear_line(escape.err, {"\\x1b[2J\\n"}));
}

TEST_CASE("validate takes every kind of configuration, and several files") {
  const TempDir folder;
  const auto result =
      run_program({"validate", kRoot + "/configs/default.yaml", kRoot + "/configs/tune.yaml",
                   kRoot + "/configs/simulate.yaml", kRoot + "/configs/baselines/default.yaml",
                   kRoot + "/configs/hardware/h100-sxm.yaml",
                   kRoot + "/configs/models/llama-3.1-8b.yaml", needle_4k()},
                  folder.path());
  INFO(result.err);
  CHECK(result.code == 0);
  for (const char* kind :
       {"a valid sweep of 44 runs", "tune.yaml: a valid tuning of", "a valid simulation of",
        "a valid baseline of 44 runs", "the machine", "the model", "a valid trace"})
    CHECK(contains(result.out, kind));
  // One that is wrong is named, and the others are still looked at.
  spill(folder.file("bad.yaml"), one_layer_sweep("[dens]") + "target: {metric: none}\n");
  spill(folder.file("good.yaml"), one_layer_sweep("[dense]"));
  const auto mixed = run_program(
      {"validate", folder.file("bad.yaml"), folder.file("none.h5"), folder.file("good.yaml")},
      folder.path());
  CHECK(mixed.code == 2);
  CHECK(contains(mixed.err, "bad.yaml:3:12"));
  CHECK(contains(mixed.err, "none.h5: no such file"));
  CHECK(contains(mixed.out, "good.yaml: a valid sweep of 1 runs"));
}

TEST_CASE("what a shipped sweep or tuning asks for is known, whichever trace it is replayed on") {
  const TempDir folder;
  std::vector<std::string> seen;
  for (const auto& file : fs::directory_iterator(kRoot + "/configs")) {
    const std::string name = file.path().stem().string(), text = slurp(file.path());
    if (file.path().extension() != ".yaml") continue;
    if (contains(text, "\nmodels:"))
      continue;  // simulations, which tests/sim loads, and accuracy.py's
    const std::string command = contains(text, "\ntarget:") ? "tune" : "run";
    const auto result = run_program({command, file.path().string(), "--dry-run", "--set",
                                     "traces=[" + needle_4k() + "]", "--set", "replay={}"},
                                    folder.path());
    INFO(name << ": " << result.err);
    CHECK(result.code == 0);
    CHECK(contains(result.out, " on 1 traces)"));
    CHECK(contains(slurp(kRoot + "/README.md"), "`" + name + "`"));  // the list of what is shipped
    seen.push_back(name);
  }
  for (const char* name : {"default", "rivals", "rivals_long", "tune", "tune_for_the_loop"})
    CHECK(std::count(seen.begin(), seen.end(), name) == 1);
}

TEST_CASE("a target that is not one is one line that says what is, and --help shows one of each") {
  const TempDir folder;
  const std::map<std::string, std::vector<std::string>> wrong = {
      {"{metric: exact_mas, at_least: 0.9}",
       {"target.metric", "expected output_error, violation_rate", "covered_mass or exact_mass"}},
      {"{metric: exact_mass, at_most: 0.9}", {"target", "this metric is bounded by at_least"}},
      {"{metric: output_error, at_least: 0.9}", {"target", "this metric is bounded by at_most"}},
      {"{metric: exact_mass, at_least: 90}", {"target.at_least", "1"}},
      {"{metric: exact_mass}", {"target", "at_least"}},
      {"{metric: exact_mass, at_least: 0.9, mass: 0.9}",
       {"target.mass", "belongs to violation_rate only"}},
      {"{metric: exact_mass, at_least: 0.9, error: 0.1}",
       {"target.error", "belongs to error_violation_rate only"}},
      {"{metric: exact_mass, at_least: 0.9, percentil: 5}",
       {"target: unknown key 'percentil'", "known are metric, percentile"}},
      {"{metric: exact_mass, at_least: 0.9, percentile: 101}", {"target.percentile", "100"}},
      {"{metric: violation_rate, percentile: 5, at_most: 0.1}",
       {"target.percentile", "a rate is a mean already"}}};
  for (const auto& [target, words] : wrong) {
    spill(folder.file("t.yaml"), one_layer_sweep("[dense]") + "output: " + folder.file("r.h5") +
                                     "\ntarget: " + target + "\n");
    const auto result = run_program({"tune", folder.file("t.yaml")}, folder.path());
    INFO(target << ": " << result.err);
    CHECK(result.code == 2);
    std::vector<std::string> all = words;
    all.insert(all.begin(), "t.yaml:5:");
    CHECK(is_one_clear_line(result.err, all));
    CHECK(!fs::exists(folder.file("r.h5")));
  }
  const auto help = run_program({"tune", "--help"}, folder.path());
  for (const char* metric :
       {"output_error", "exact_mass", "covered_mass", "violation_rate", "error_violation_rate"})
    CHECK(contains(help.out, std::string("{metric: ") + metric + ","));
}

TEST_CASE("tune --dry-run prints its candidates and runs nothing") {
  const TempDir folder;
  spill(folder.file("t.yaml"),
        one_layer_sweep("[{policy: streaming, window: [16, 32]}]") +
            "target: {metric: output_error, at_most: 0.5}\noutput: " + folder.file("r.h5") + "\n");
  const auto result = run_program({"tune", folder.file("t.yaml"), "--dry-run"}, folder.path());
  CHECK(result.code == 0);
  CHECK(contains(result.out, "\"window\": 32"));
  CHECK(contains(result.out, "2 runs (2 of policies on 1 traces)"));
  CHECK(!fs::exists(folder.file("r.h5")));
  CHECK(!fs::exists(folder.file("r.h5.parts")));
}

TEST_CASE("run does what tune wrote, layer by layer") {
  const TempDir folder;
  const std::string text = "traces: [" + needle_4k() +
                           "]\nreplay: {max_steps: 8}\noutput: " + folder.file("t.h5") +
                           "\npolicies: [{policy: streaming, window: [16, 64, 256, 1024]}]\n"
                           "target: {metric: output_error, at_most: 0.7}\nsafety: 0\n";
  spill(folder.file("t.yaml"), text);
  const auto tuned =
      run_program({"tune", folder.file("t.yaml"), "-o", folder.file("tuned.yaml")}, folder.path());
  INFO(tuned.out << tuned.err);
  REQUIRE(tuned.code == 0);
  CHECK(run_program({"validate", folder.file("tuned.yaml")}, folder.path()).code == 0);
  // By hand, so that layers differ whatever the tuner chose.
  spill(folder.file("layers.yaml"),
        "tuned:\n  - {trace: by-hand, policy: streaming, layers: {4: {window: 16}, 7: {window: "
        "1024}}}\n");
  spill(folder.file("s.yaml"), "traces: [" + needle_4k() +
                                   "]\nreplay: {max_steps: 8}\npolicies:\n  - tuned: tuned.yaml\n"
                                   "  - tuned: layers.yaml\n  - {policy: streaming, window: [16, "
                                   "1024]}\n");
  const auto run =
      run_program({"run", folder.file("s.yaml"), "-o", folder.file("r.h5")}, folder.path());
  INFO(run.err);
  REQUIRE(run.code == 0);
  const std::string csv = run_program({"export", folder.file("r.h5")}, folder.path()).out;
  CHECK(contains(csv, "streaming tuned=by-hand"));
  CHECK(contains(csv, "\"\"window\"\": {\"\"4\"\": 16, \"\"7\"\": 1024}"));
  // Rows of a layer are those of the run that has its parameters in every layer.
  std::map<std::string, std::set<std::string>> rows;  // by label: target_p, layer, head, ...
  std::istringstream lines(csv);
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    const auto brace = line.rfind("}\",");
    const std::string label = line.substr(0, brace), numbers = line.substr(brace);
    for (const char* name : {"tuned=by-hand", "window=16\"", "window=1024\""})
      if (contains(label, name)) rows[name].insert(numbers);
  }
  REQUIRE(rows["tuned=by-hand"].size() == rows["window=16\""].size());
  std::size_t narrow = 0, wide = 0;
  for (const std::string& row : rows["tuned=by-hand"]) {
    narrow += rows["window=16\""].count(row);
    wide += rows["window=1024\""].count(row);
  }
  CHECK(narrow == rows["tuned=by-hand"].size() / 2);
  CHECK(wide == rows["tuned=by-hand"].size() / 2);
  spill(folder.file("layers.yaml"),
        "tuned:\n  - {policy: streaming, layers: {4: {window: 16}, 9: {window: 64}}}\n");
  const auto other = run_program({"validate", folder.file("s.yaml")}, folder.path());
  CHECK(other.code == 2);
  CHECK(is_one_clear_line(other.err, {"s.yaml", "tuned without layer 7", "needle-4k.h5"}));
}

TEST_CASE("seeds are a column of the CSV, and skipped combinations are counted") {
  const TempDir folder;
  spill(folder.file("s.yaml"),
        "seed: [0, 3]\nskip_invalid: true\n" +
            one_layer_sweep("[{policy: double_p, p1: 0.5, p2: [0.4, 0.7]}]"));
  const auto run =
      run_program({"run", folder.file("s.yaml"), "-o", folder.file("r.h5")}, folder.path());
  INFO(run.err);
  REQUIRE(run.code == 0);
  CHECK(contains(run.out, "2 runs"));
  CHECK(contains(run.out, "1 impossible combinations were skipped"));
  const std::string csv = run_program({"export", folder.file("r.h5")}, folder.path()).out;
  const std::string header = csv.substr(0, csv.find('\n'));
  for (const char* column : {",seed,", ",kv_dtype,", ",trace_hash,"})
    CHECK(contains(header, column));
  CHECK(contains(csv, "double_p seed=3"));
}

TEST_CASE("progress fits the terminal, and sends no escapes to one that takes none") {
  const TempDir folder;
  spill(folder.file("s.yaml"),
        "traces: [" + needle_4k() +
            "]\nreplay: {max_steps: 2}\npolicies: [{policy: double_sparsity, channels: [16, 32], "
            "label_bits: [2, 4], budget: [64, 128, 256]}]\n");
  const std::vector<std::string> run = {"run", folder.file("s.yaml"), "--fresh", "-o",
                                        folder.file("r.h5")};
  const std::string wide = on_terminal(run, 40, "xterm", "");
  CHECK(contains(wide, "\033[K"));
  std::size_t lines = 0;
  for (std::size_t at = wide.find("\033[K"); at != std::string::npos;) {
    const std::size_t next = wide.find("\033[K", at + 3);
    std::string shown = wide.substr(at + 3, next - at - 3);
    shown.erase(std::remove(shown.begin(), shown.end(), '\r'), shown.end());
    CHECK(shown.size() < 40);
    lines += !shown.empty();
    at = next;
  }
  CHECK(lines > 0);
  for (const auto& [term, no_color] : {std::pair{"dumb", ""}, {"xterm", "1"}}) {
    const std::string plain = on_terminal(run, 40, term, no_color);
    CHECK(!contains(plain, "\033"));
    CHECK(contains(plain, "[12/12] needle-4k double_sparsity"));
  }
}

TEST_CASE("control characters reach no terminal") {
  const TraceFile trace;
  trace.set_string("model", "a\x1b[2Jb");
  trace.set_string("task", "first\nsecond");
  const TempDir folder;
  spill(folder.file("s.yaml"), "traces: [\"a\\x1b[2J\\nb.h5\"]\npolicies: [dense]\n");
  const auto result = run_program({"validate", folder.file("s.yaml")}, folder.path());
  CHECK(result.code == 2);
  CHECK(is_one_clear_line(result.err, {"a\\x1b[2J\\nb.h5"}));
  const auto inspected = run_program({"inspect", trace.path()}, folder.path());
  CHECK(inspected.code == 0);
  CHECK(contains(inspected.out, "a\\x1b[2Jb\n"));
  CHECK(contains(inspected.out, "first\\nsecond\n"));
  // A file's name may hold them, and so may whatever a baseline says.
  fs::copy_file(trace.path(), folder.file("a\x1b[2Jb.h5"));
  spill(folder.file("s.yaml"), "traces: [\"a\\x1b[2Jb.h5\"]\npolicies: [dense, streaming]\n");
  const std::string result_file = folder.file("r.h5"), baseline = folder.file("b.yaml");
  const auto quiet = [&](const std::vector<std::string>& arguments, int code,
                         const std::string& part) {
    const auto ran = run_program(arguments, folder.path());
    INFO(arguments[0] << ": " << ran.out << ran.err);
    CHECK(ran.code == code);
    CHECK(!contains(ran.out + ran.err, "\x1b"));
    CHECK(contains(ran.out + ran.err, part));
  };
  quiet({"run", folder.file("s.yaml"), "--dry-run"}, 0, "a\\x1b[2Jb.h5");
  quiet({"run", folder.file("s.yaml"), "-o", result_file}, 0, "a\\x1b[2Jb");
  quiet({"check", result_file, "--baseline", baseline, "--update"}, 0, "2 runs");
  std::string text = slurp(baseline);
  for (const auto& [from, to] : {std::pair{"label: streaming", "label: \"stream\\e[2Jing\""},
                                 {"visible_tokens: [55, ", "visible_tokens: [56, "}}) {
    REQUIRE(contains(text, from));
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += 4)
      text.replace(at, std::string(from).size(), to);
  }
  spill(baseline, text);
  quiet({"check", result_file, "--baseline", baseline}, 1, "stream\\x1b[2Jing");
}
