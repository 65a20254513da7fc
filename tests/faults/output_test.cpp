// Where output may go, as a user meets it: nothing that is read is overwritten, nothing that is no
// file is replaced by one, and all of that is said before any work is done.
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "tests/catch.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

// A folder with a trace of its own and a sweep over it, and the sweep's result.
struct Bench {
  TempDir folder;
  std::string trace = folder.file("t.h5"), sweep = folder.file("s.yaml"),
              tuning = folder.file("tune.yaml"), result = folder.file("r.h5");
  Bench() {
    fs::copy_file(needle_4k(), trace);
    const std::string text =
        "traces: [t.h5]\nreplay: {max_steps: 2, layers: [4]}\npolicies: [{policy: dense}]\n";
    spill(sweep, text);
    spill(tuning, text + "target: {metric: output_error, at_most: 0.5}\noutput: " + result + "\n");
  }
  ProgramResult run(const std::vector<std::string>& arguments) const {
    return run_program(arguments, folder.path());
  }
  void make_result() const { REQUIRE(run({"run", sweep, "-o", result}).code == 0); }
};

}  // namespace

TEST_CASE("no command overwrites what it reads") {
  const Bench bench;
  bench.make_result();
  const auto refuses = [&](const std::vector<std::string>& arguments, const std::string& victim) {
    const std::string before = slurp(victim);
    const auto result = bench.run(arguments);
    INFO(arguments[0] << " onto " << victim << ": " << result.err);
    CHECK(result.code == 2);
    CHECK(is_one_clear_line(result.err, {victim, "would destroy"}));
    CHECK(result.out.empty());
    CHECK(slurp(victim) == before);
  };
  refuses({"run", bench.sweep, "-o", bench.trace}, bench.trace);
  refuses({"run", bench.sweep, "-o", bench.sweep}, bench.sweep);
  refuses({"inspect", bench.trace, "--csv", bench.trace}, bench.trace);
  refuses({"export", bench.result, "-o", bench.result}, bench.result);
  refuses({"tune", bench.tuning, "-o", bench.tuning}, bench.tuning);
  refuses({"tune", bench.tuning, "-o", bench.trace}, bench.trace);
  refuses({"tune", bench.tuning, "-o", bench.result}, bench.result);
  refuses({"tune", bench.tuning, "--set", "output=" + bench.trace}, bench.trace);
  refuses({"check", bench.result, "--update", "--baseline", bench.result}, bench.result);
  CHECK(!fs::exists(bench.trace + ".parts"));
}

TEST_CASE("a simulation overwrites none of the files that describe it") {
  const TempDir folder;
  for (const char* name : {"hardware/h100-sxm.yaml", "models/llama-3.1-8b.yaml"})
    fs::copy_file(kRoot + "/configs/" + name, folder.file(fs::path(name).filename().string()));
  fs::copy_file(kRoot + "/sim/profiles/needle.tsv", folder.file("needle.tsv"));
  const std::string config = folder.file("s.yaml");
  spill(config,
        "hardware: [h100-sxm.yaml]\nmodels: [llama-3.1-8b.yaml]\n"
        "workloads: [{name: needle, profiles: [needle.tsv]}]\n"
        "policies: [{policy: dense}]\ndecode: {context: 4096}\n");
  for (const std::string name : {"s.yaml", "h100-sxm.yaml", "llama-3.1-8b.yaml", "needle.tsv"}) {
    const std::string before = slurp(folder.file(name));
    const auto result = run_program({"simulate", config, "-o", folder.file(name)}, folder.path());
    INFO(name << ": " << result.err);
    CHECK(result.code == 2);
    CHECK(is_one_clear_line(result.err, {name, "would destroy"}));
    CHECK(slurp(folder.file(name)) == before);
  }
  const auto record = run_program({"simulate", config, "--record", folder.path()}, folder.path());
  CHECK(record.code == 2);
  CHECK(is_one_clear_line(record.err, {"needle.tsv", "would destroy"}));
}

TEST_CASE("a folder as output is refused before any run") {
  const Bench bench;
  const TempDir other;  // whose result is not looked for below
  const std::string result = other.file("r.h5");
  REQUIRE(bench.run({"run", bench.sweep, "-o", result}).code == 0);
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"run", bench.sweep, "-o", bench.folder.path()},
           {"export", result, "-o", bench.folder.path()},
           {"check", result, "--update", "--baseline", bench.folder.path()},
           {"simulate", kRoot + "/configs/simulate.yaml", "-o", bench.folder.path()},
           {"tune", bench.tuning, "-o", bench.folder.path()},
           {"inspect", bench.trace, "--csv", bench.folder.path()},
           {"synth", "-o", bench.folder.path(), "--tokens", "64"}}) {
    const auto refused = bench.run(arguments);
    INFO(arguments[0] << ": " << refused.err);
    CHECK(refused.code == 2);
    CHECK(is_one_clear_line(refused.err, {bench.folder.path(), "is a folder"}));
    CHECK(refused.out.empty());
  }
  CHECK(!fs::exists(bench.result));
  CHECK(!fs::exists(bench.folder.path() + ".parts"));
}

TEST_CASE("text goes to standard output, a device or a FIFO, and none of them is replaced") {
  const Bench bench;
  bench.make_result();
  const std::string csv = bench.run({"export", bench.result}).out;
  REQUIRE(csv.rfind("trace,", 0) == 0);
  CHECK(bench.run({"export", bench.result, "-o", "-"}).out == csv);
  CHECK(bench.run({"export", bench.result, "-o", "/dev/stdout"}).out == csv);
  CHECK(!fs::exists(fs::current_path() / "-"));
  CHECK(bench.run({"export", bench.result, "-o", "/dev/null"}).code == 0);
  CHECK(fs::is_character_file("/dev/null"));
  const std::string fifo = bench.folder.file("fifo");
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  std::string got;
  std::thread reader([&] { got = slurp(fifo); });
  CHECK(bench.run({"export", bench.result, "-o", fifo}).code == 0);
  reader.join();
  CHECK(got == csv);
  CHECK(fs::is_fifo(fifo));
  const auto inspected = bench.run({"inspect", bench.trace, "--layers", "4", "--csv", "-"});
  CHECK(inspected.code == 0);
  CHECK(inspected.out.rfind("layer,head,kv_head,", 0) == 0);
  CHECK(inspected.err.find("effect.") != std::string::npos);  // the table makes room
}

TEST_CASE("a run's result goes through a symlink, and to no device") {
  const Bench bench;
  fs::create_directory(bench.folder.file("far"));
  fs::create_symlink("far/real.h5", bench.folder.file("link.h5"));
  REQUIRE(bench.run({"run", bench.sweep, "-o", bench.folder.file("link.h5")}).code == 0);
  CHECK(fs::is_symlink(bench.folder.file("link.h5")));
  CHECK(fs::is_regular_file(bench.folder.file("far/real.h5")));
  const auto device = bench.run({"run", bench.sweep, "-o", "/dev/null"});
  CHECK(device.code == 2);
  CHECK(is_one_clear_line(device.err, {"/dev/null", "regular file"}));
  CHECK(fs::is_character_file("/dev/null"));
}

TEST_CASE("a path too long or through a file is an input error, not an unexpected one") {
  const Bench bench;
  const std::string longer = bench.folder.file(std::string(300, 'x'));
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"run", bench.sweep, "-o", longer},
                                             {"run", longer},
                                             {"validate", longer},
                                             {"validate", longer + ".yaml"},
                                             {"run", bench.sweep, "-o", bench.sweep + "/r.h5"}}) {
    const auto result = bench.run(arguments);
    INFO(result.err);
    CHECK(result.code == 2);
    CHECK(is_one_clear_line(result.err, {}));
  }
  spill(bench.sweep, "traces: [" + longer + "]\npolicies: [{policy: dense}]\n");
  const auto result = bench.run({"validate", bench.sweep});
  CHECK(result.code == 2);
  CHECK(is_one_clear_line(result.err, {"s.yaml:1:10", "too long"}));
}

TEST_CASE("the file that was looked at is the file that is opened") {
  const TempDir folder;  // configs is a symlink into elsewhere, and both have ../data/t.h5
  fs::create_directories(folder.file("elsewhere/configs"));
  fs::create_directory_symlink("elsewhere/configs", folder.file("configs"));
  fs::create_directories(folder.file("elsewhere/data"));
  fs::create_directories(folder.file("data"));
  fs::copy_file(needle_4k(), folder.file("elsewhere/data/t.h5"));
  spill(folder.file("data/t.h5"), "another file, and no trace at all");
  spill(folder.file("elsewhere/configs/s.yaml"),
        "traces: [../data/t.h5]\nreplay: {layers: [4], max_steps: 2}\npolicies: [dense]\n");
  spill(folder.file("elsewhere/configs/tune.yaml"),
        "traces: [../data/t.h5]\nreplay: {layers: [4], max_steps: 4}\npolicies: [dense]\n"
        "target: {metric: output_error, at_most: 0.5}\n");
  const std::string configs = kRoot + "/configs/";
  for (const auto& [from, to] : {std::pair{"hardware/h100-sxm.yaml", "data/h.yaml"},
                                 {"models/llama-3.1-8b.yaml", "data/m.yaml"}}) {
    fs::copy_file(configs + from, folder.file(std::string("elsewhere/") + to));
    spill(folder.file(to), "no description\n");
  }
  spill(folder.file("elsewhere/configs/sim.yaml"),
        "hardware: [../data/h.yaml]\nmodels: [../data/m.yaml]\nmeasure: {max_steps: 1}\n"
        "workloads: [{name: w, traces: [../data/t.h5]}]\npolicies: [dense]\n"
        "decode: {context: 4096}\n");
  const auto all_end_with = [&](int code) {
    for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
             {"validate", folder.file("configs/s.yaml")},
             {"run", folder.file("configs/s.yaml"), "-o", folder.file("r.h5")},
             {"tune", folder.file("configs/tune.yaml"), "--set", "output=" + folder.file("t.h5")},
             {"simulate", folder.file("configs/sim.yaml"), "-o", folder.file("sim.h5")}}) {
      const auto result = run_program(arguments, folder.path());
      INFO(arguments[0] << ": " << result.err);
      CHECK(result.code == code);
    }
  };
  all_end_with(0);
  fs::remove(folder.file("elsewhere/data/t.h5"));  // the other one does not stand in for it
  all_end_with(2);
}
