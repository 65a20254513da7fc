// Numbers that make no sense: refused in one line, or told for what they are; never a plausible
// time.
#include <filesystem>

#include "tests/catch.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

// A plan over the shipped descriptions; `rest` brings workloads and what is to be simulated.
std::string plan(const std::string& rest) {
  return "hardware: [" + kRoot + "/configs/hardware/h100-sxm.yaml]\nmodels: [" + kRoot +
         "/configs/models/llama-3.1-8b.yaml]\npolicies: [{policy: dense}]\n" + rest;
}
std::string workload(const std::string& key, const std::string& path) {
  return "workloads: [{name: w, " + key + ": [" + path + "]}]\n";
}
const std::string kTrace = workload("traces", needle_4k()) + "measure: {max_steps: 1}\n";
const std::string kDecode = "decode: {context: 4096, batch: 1}\n";

// A profile of dense attention with one row, `field` of line `line` (both from 0) replaced.
std::string profile(int line = -1, int field = 0, const std::string& value = "") {
  std::vector<std::vector<std::string>> lines = {
      {"doublep-profile", "1"},
      {"trace", "t", "hash", "4", "128", "2", "4096"},
      {"policy", "dense", "{}", "0", "0"},
      {"index", "0", "0", "0"},
      {"quality", "0", "1"},
      {"hit", "0.5", "0.5"},
      {"row", "0", "0", "0", "4096", "4096", "0", "4096", "0", "0", "0", "2097152", "0", "0", "0",
       "8392704"}};
  if (line >= 0) lines.at(line).at(field) = value;
  std::string text;
  for (const auto& fields : lines)
    for (std::size_t i = 0; i < fields.size(); ++i)
      text += fields[i] + (i + 1 < fields.size() ? "\t" : "\n");
  return text;
}

struct Simulated {
  ProgramResult run;
  bool written;
};

Simulated simulate(const TempDir& folder, const std::string& text) {
  const std::string config = folder.file("plan.yaml"), out = folder.file("r.h5");
  fs::remove(out);
  spill(config, text);
  const auto run = run_program({"simulate", config, "-o", out}, folder.path());
  return {run, fs::exists(out)};
}

void check_refused(const std::string& text, const std::vector<std::string>& parts) {
  const TempDir folder;
  const Simulated s = simulate(folder, text);
  INFO(s.run.err);
  CHECK(s.run.code == 2);
  CHECK(is_one_clear_line(s.run.err, parts));
  CHECK_FALSE(s.written);
}

}  // namespace

TEST_CASE("Counts of a plan are whole numbers", "[sim]") {
  for (const char* key : {"batch", "tensor_parallel", "context"})
    for (const char* value : {"1.9", "[1, 2.5]"}) {
      std::string decode = key == std::string("context") ? "" : "context: 4096, ";
      decode = "decode: {" + decode + key + ": " + value + "}\n";
      check_refused(plan(kTrace + decode), {"plan.yaml:", key, "integers"});
    }
  check_refused(plan(kTrace + kDecode +
                     "serving: {requests: 2, rate: 1, tensor_parallel: 2.5, "
                     "prompt: {median: 9}, output: {median: 9}}\n"),
                {"tensor_parallel", "integers"});
}

TEST_CASE("A length whose median exceeds its most is refused", "[sim]") {
  check_refused(plan(kTrace + "serving: {requests: 2, rate: 1, prompt: {median: 4096, most: 1024}, "
                              "output: {median: 9}}\n"),
                {"prompt", "median", "1024", "4096"});
}

TEST_CASE("Requests that fit no memory are called rejected", "[sim]") {
  const TempDir folder;
  const std::string serving =
      "serving: {requests: 4, rate: 1, prompt: {median: 2000000, most: 4000000}, "
      "output: {median: 9}}\n";
  const Simulated s = simulate(folder, plan(kTrace + serving));
  INFO(s.run.err);
  CHECK(s.run.code == 0);
  CHECK(s.run.out.find("rejected: none of the 4 requests") != std::string::npos);
  CHECK(s.run.out.find("TPOT") == std::string::npos);
}

TEST_CASE("A profile's numbers are finite, not negative, and whole where they count", "[sim]") {
  const TempDir folder;
  const std::string path = folder.file("p.tsv"), text = plan(workload("profiles", path) + kDecode);
  spill(path, profile());
  const Simulated good = simulate(folder, text);
  INFO(good.run.err);
  REQUIRE(good.run.code == 0);
  const struct {
    int line, field;
    const char* value;
  } broken[] = {{1, 3, "-4"},        {1, 4, "nan"},  {1, 6, "4096.5"}, {1, 3, "1e10"},
                {1, 6, "1e30"},      {2, 3, "-1"},   {3, 1, "inf"},    {4, 1, "nan"},
                {5, 1, "1.5"},       {6, 1, "1e99"}, {6, 5, "nan"},    {6, 11, "nan"},
                {6, 11, "-2097152"}, {6, 11, "inf"}, {6, 15, "1e999"}, {6, 4, "0x1000"},
                {6, 11, " 2097152"}, {6, 2, "0.5"}};
  for (const auto& b : broken) {
    spill(path, profile(b.line, b.field, b.value));
    const Simulated s = simulate(folder, text);
    INFO(b.line << " " << b.field << " " << b.value << ": " << s.run.err);
    CHECK(s.run.code == 2);
    CHECK(is_one_clear_line(s.run.err, {path + ":" + std::to_string(b.line + 1) + ":",
                                        "field " + std::to_string(b.field + 1)}));
    CHECK_FALSE(s.written);
  }
}

TEST_CASE("A prediction that overflows is no result", "[sim]") {
  const TempDir folder;
  const std::string path = folder.file("p.tsv");
  spill(path, profile(6, 11, "1e308"));
  for (const std::string& what :
       {kDecode, std::string("serving: {requests: 2, rate: 1, prompt: {median: 99}, "
                             "output: {median: 9}}\n")}) {
    const Simulated s = simulate(folder, plan(workload("profiles", path) + what));
    INFO(s.run.err);
    CHECK(s.run.code == 1);
    const std::string& err = s.run.err;  // a line of progress comes before
    CHECK(err.find("dense on workload w, llama-3.1-8b on h100-sxm") != std::string::npos);
    CHECK(err.find("no finite number") != std::string::npos);
    CHECK_FALSE(s.written);
  }
}

TEST_CASE("A measured point with a broken number names its file and key", "[sim]") {
  const TempDir folder;
  const std::string measured = folder.file("bench.json"), path = folder.file("p.tsv");
  spill(path, profile());
  const std::string point =
      "{\"label\": \"double_p\", \"policy\": \"double_p\", \"context\": 8192, \"batch\": 1, "
      "\"step_us\": 50, \"estimate_us\": 10, \"select_us\": 10, \"attend_us\": 30, "
      "\"estimate_bytes\": 1e6, \"attend_bytes\": 1e6, \"late_estimate_bytes\": 0, "
      "\"select_items\": 512, \"search\": \"clusters\", \"ranks_groups\": false, "
      "\"dense\": false, \"build_ms\": 1, \"build_flops\": 1e9}";
  for (const char* key : {"\"estimate_bytes\": ", "\"attend_bytes\": ", "\"build_flops\": "})
    for (const char* value : {"\"many\"", "\"\"", "-16", ".nan", "\"16x\"", "1e999"}) {
      std::string broken = point;
      const auto at = broken.find(key) + std::string(key).size();
      broken.replace(at, broken.find_first_of(",}", at) - at, value);
      spill(measured,
            "{\"format\": \"doublep-bench\", \"version\": 1, \"device\": \"NVIDIA H100\", "
            "\"kv_heads\": 8, \"head_dim\": 128, \"query_heads\": 32, \"points\": [\n" +
                broken + "]}");
      const std::string name(key + 1, std::string(key).find('"', 1) - 1);
      check_refused(plan(workload("profiles", path) + kDecode +
                         "calibration: {points: " + measured + ", hardware: h100-sxm}\n"),
                    {measured + ":2:", name});
    }
}

TEST_CASE("A result that goes to standard output is all that goes there", "[sim]") {
  const TempDir folder;
  const std::string config = folder.file("plan.yaml"), out = folder.file("r.h5");
  spill(config, plan(kTrace + kDecode));
  const auto run = run_program({"simulate", config, "-o", "-"}, folder.path());
  INFO(run.err);
  REQUIRE(run.code == 0);
  CHECK(run.err.find("1 points in -") != std::string::npos);
  CHECK(run.out.find("1 points in") == std::string::npos);
  REQUIRE(run_program({"simulate", config, "-o", out}, folder.path()).code == 0);
  CHECK(run.out.size() == fs::file_size(out));
}

TEST_CASE("A full disk while profiles are recorded leaves nothing behind", "[sim]") {
  const TempDir folder;
  const std::string config = folder.file("plan.yaml"), records = folder.file("records");
  spill(config, plan(kTrace + kDecode));
  fs::create_directory(records);
  const auto run = run_program({"simulate", config, "--record", records}, folder.path(),
                               {.file_limit = 300, .interrupt_when = {}});
  INFO(run.err);
  CHECK(run.code == 2);
  CHECK(run.err.find("w.tsv") != std::string::npos);
  CHECK(fs::is_empty(records));
}
