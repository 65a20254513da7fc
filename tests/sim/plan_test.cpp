// Configurations and descriptions: what is shipped loads, and every mistake has one line with its
// place.
#include "experiments/simulate/plan.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/trace/hdf5/h5.h"
#include "experiments/simulate/inputs.h"
#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/paths.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::sim;
using doublep::test::contains;
using doublep::test::kRoot;
using doublep::test::message_of;
using doublep::test::needle_4k;
using doublep::test::replaced;
using doublep::test::TempDir;
namespace fs = std::filesystem;

namespace {

std::string read(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A small plan over the shipped descriptions and a recorded trace.
std::string plan_text() {
  return "name: small\n"
         "hardware: [" +
         kRoot +
         "/configs/hardware/h100-sxm.yaml]\n"
         "models: [" +
         kRoot +
         "/configs/models/trace-27m.yaml]\n"
         "measure: {max_steps: 1}\n"
         "workloads:\n  - {name: needle, traces: [" +
         needle_4k() +
         "]}\n"
         "policies:\n  - policy: dense\n  - {policy: streaming, window: [64, 128]}\n"
         "decode: {context: [4096, 8192], batch: {from: 1, to: 16, count: 3, scale: log}}\n";
}

int run(const std::string& arguments) {
  const int status = std::system((std::string(DOUBLEP_PROGRAM) + " " + arguments).c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("Every shipped description loads, and its figures are of their kind", "[sim]") {
  int machines = 0, models = 0;
  for (const auto& file : fs::directory_iterator(kRoot + "/configs/hardware")) {
    const Hardware h = load_hardware(file.path().string());
    INFO(h.name);
    CHECK(h.name == file.path().stem().string());
    CHECK(h.bandwidth() > 1e11);
    CHECK(h.bandwidth() < 1e13);
    CHECK(h.flops("bf16") >= h.flops("fp32"));
    CHECK(h.memory_capacity.value >= 24e9);
    CHECK(h.host_link_bandwidth.value <= h.memory_bandwidth.value);
    ++machines;
  }
  for (const auto& file : fs::directory_iterator(kRoot + "/configs/models")) {
    const Model m = load_model(file.path().string());
    CHECK(m.name == file.path().stem().string());
    ++models;
  }
  CHECK(machines >= 9);  // whoever adds a file is not asked for a second one here
  CHECK(models >= 13);
  const auto parameters = [](const char* name) {
    return load_model(kRoot + "/configs/models/" + name + ".yaml").parameters();
  };
  CHECK(parameters("llama-3.1-8b") == Approx(8.03e9).epsilon(0.005));
  CHECK(parameters("llama-3.1-70b") == Approx(70.6e9).epsilon(0.005));
  CHECK(parameters("llama-3.2-1b") == Approx(1.236e9).epsilon(0.005));
  CHECK(parameters("qwen3-8b") == Approx(8.19e9).epsilon(0.005));
  CHECK(parameters("qwen3-32b") == Approx(32.8e9).epsilon(0.005));
  CHECK(parameters("mistral-7b") == Approx(7.25e9).epsilon(0.005));
  CHECK(parameters("qwen2.5-coder-1.5b") == Approx(1.54e9).epsilon(0.005));
  // As published; of DeepSeek-V3 without the 14B of its prediction module.
  CHECK(parameters("mixtral-8x7b") == Approx(46.7e9).epsilon(0.005));
  CHECK(parameters("qwen3-30b-a3b") == Approx(30.5e9).epsilon(0.005));
  CHECK(parameters("deepseek-v2-lite") == Approx(15.7e9).epsilon(0.005));
  CHECK(parameters("deepseek-v3") == Approx(671e9).epsilon(0.005));
  const auto active = [](const char* name) {  // a token's, with embedding and head as published
    const Model m = load_model(kRoot + "/configs/models/" + name + ".yaml");
    return m.active_parameters() + 2.0 * m.vocabulary * m.hidden;
  };
  CHECK(active("mixtral-8x7b") == Approx(12.9e9).epsilon(0.005));
  CHECK(active("qwen3-30b-a3b") == Approx(3.3e9).epsilon(0.02));
  CHECK(active("deepseek-v3") == Approx(37e9).epsilon(0.05));
  // 7e9 weights at 4.25 bits, 1.05e9 of embedding and head at 16.
  CHECK(load_model(kRoot + "/configs/models/llama-3.1-8b-int4.yaml").weight_bytes() ==
        Approx((32 * 218103808.0 * 4.25 + 2 * 128256 * 4096.0 * 16) / 8));
}

TEST_CASE("Mistakes in a model description", "[sim]") {
  const TempDir folder;
  const std::string path = folder.file("m.yaml"), models = kRoot + "/configs/models/",
                    latent = read(models + "deepseek-v2-lite.yaml"),
                    experts = read(models + "mixtral-8x7b.yaml"),
                    packed = read(models + "llama-3.1-8b-int4.yaml");
  const auto says = [&](const std::string& text) {
    std::ofstream(path) << text;
    return message_of([&] { load_model(path); });
  };
  CHECK(
      contains(says(replaced(packed, "weights: int4\n", "weights: int3\n")),
               path + ":12:10: weights: expected fp32, fp16, bf16, fp8, int8 or int4, not 'int3'"));
  CHECK(contains(says(replaced(packed, "weights: int4", "weights: bf16")), "only int8 and int4"));
  CHECK(contains(says(replaced(packed, "weight_group: 128", "weight_group: 0")), "weight_group"));
  CHECK(contains(says(replaced(experts, "active: 2", "active: 9")), "cannot take 9 of 8 experts"));
  CHECK(contains(says(replaced(experts, "active: 2", "active: 0")), "active"));
  CHECK(contains(says(replaced(experts, "count: 8", "size: 8")), "unknown key 'size'"));
  CHECK(contains(says(experts + "ffn: 14336\n"), "no layer has such an MLP"));
  CHECK(contains(says(replaced(latent, "dense_layers: 1", "dense_layers: 27")),
                 "leaves none of the 27 layers"));
  CHECK(contains(says(replaced(latent, "ffn: 10944\n", "")), "ffn"));
  CHECK(contains(says(latent + "kv_heads: 16\n"), "does not go with `latent`"));
  CHECK(contains(says(replaced(latent, "rope: 64", "rope: -1")), "rope"));
  CHECK(contains(
      message_of([&] { check_shape("e2e.json", load_model(models + "mixtral-8x7b.yaml")); }),
      "e2e.json: model: 'mixtral-8x7b' has experts"));
}

TEST_CASE("A pair of policy and latent cache that is no pair is refused, or left out", "[sim]") {
  const TempDir folder;
  const std::string path = folder.file("plan.yaml"),
                    text = replaced(replaced(plan_text(), "trace-27m", "deepseek-v2-lite"),
                                    "{policy: streaming, window: [64, 128]}", "quest");
  std::ofstream(path) << text;
  CHECK(contains(message_of([&] { load_plan(path); }),
                 "policies: policy quest does not go with the latent cache of deepseek-v2-lite"));
  CHECK(load_plan(path, {"skip_invalid=true"}).num_points() == 6);  // dense alone
  const std::string out = folder.file("r.h5"), err = folder.file("err");
  REQUIRE(run("simulate " + path + " --set skip_invalid=true -o " + out + " >/dev/null 2>" + err) ==
          0);
  CHECK(contains(read(err), "left out: policy quest does not go with the latent cache"));
  CHECK(h5::children(h5::open_group(h5::open_file(out).get(), "runs", out).get()).size() == 1);
}

TEST_CASE("Mistakes in a hardware description", "[sim]") {
  const TempDir folder;
  const std::string path = folder.file("h.yaml"),
                    good = read(kRoot + "/configs/hardware/h200.yaml");
  const auto says = [&](const std::string& text) {
    std::ofstream(path) << text;
    return message_of([&] { load_hardware(path); });
  };
  CHECK(contains(says(replaced(good, "source: datasheet", "source: hearsay")),
                 "no source 'hearsay'"));
  CHECK(contains(says(replaced(good, "processors:", "prozessors:")), "unknown key 'prozessors'"));
  CHECK(contains(says(replaced(good, "{value: 4800", "{value: fast")), path + ":4:"));
  CHECK(contains(says(replaced(good, "{value: 4800", "{value: 0")), "above 0"));
  CHECK(contains(says(good + "name: twice\n"), "duplicate key"));
  CHECK(contains(says(replaced(good, "  fp32:", "  int4:")), "unknown key 'int4'"));
  CHECK(contains(message_of([&] { load_hardware(folder.file("none.yaml")); }), "no such file"));
}

TEST_CASE("A plan multiplies its lists out", "[sim]") {
  const TempDir folder;
  const std::string path = folder.file("plan.yaml");
  std::ofstream(path) << plan_text();
  const SimulationPlan plan = load_plan(path);
  REQUIRE(plan.studies.size() == 1);
  CHECK(plan.studies[0].points.size() == 6);
  CHECK(plan.policies.size() == 3);
  CHECK(plan.num_points() == 18);
  CHECK(load_plan(path, {"decode.batch=4"}).num_points() == 6);
  CHECK(load_plan(kRoot + "/configs/simulate.yaml").num_points() > 300);
}

TEST_CASE("Mistakes in a plan", "[sim]") {
  const TempDir folder;
  const std::string path = folder.file("plan.yaml"), good = plan_text();
  const auto says = [&](const std::string& text) {
    std::ofstream(path) << text;
    return message_of([&] { load_plan(path); });
  };
  CHECK(contains(says(replaced(good, "batch:", "bach:")), path + ":10:"));
  CHECK(contains(says(replaced(good, "[4096, 8192]", "[]")), "empty"));
  CHECK(contains(says(replaced(good, "[4096, 8192]", "[4096, many]")), "expected numbers"));
  CHECK(contains(says(replaced(good, "needle-4k.h5", "needle-5k.h5")), "no such file"));
  CHECK(contains(says(replaced(good, "window", "widnow")), "widnow"));
  CHECK(contains(says(replaced(good, "trace-27m", "trace-28m")), path + ":3:"));
  CHECK(contains(says(replaced(good, "decode:", "serving: {rate: 1, recorded: none.csv}\ndecode:")),
                 "no such file"));
  CHECK(contains(says(good + "what_if: [{name: a, memory_bandwith: 2}]\n"), "memory_bandwith"));
  CHECK(contains(says(replaced(good, "decode: {", "decode: {kv_place: tape, ")), "hbm or host"));
  CHECK(contains(says(replaced(good, "decode: {", "decode: {kv_dtype: int5, ")),
                 "int8 or int4, not 'int5'"));
  CHECK(
      contains(says(replaced(good, "decode: {", "decode: {kv_group: 32, ")), "only int8 and int4"));
  std::ofstream(path) << replaced(good, "decode: {",
                                  "decode: {kv_dtype: [bf16, int4], kv_group: 64, ");
  CHECK(load_plan(path).num_points() == 36);
  CHECK(contains(says(replaced(good, "decode: {", "decode: {tensor_parallel: 2.5, ")),
                 "expected integers, not 2.5"));
  CHECK(contains(says(replaced(good, "[4096, 8192]", "[4096, 8192.5]")), "expected integers"));
  CHECK(contains(says(replaced(good, "name: small", "name: a/b")), "names files"));
  // Names that files are made of, and that results are told apart by.
  for (const char* bad : {"../needle", "''", "..", "\"a\\e[2J\""})
    CHECK(contains(says(replaced(good, "name: needle", concat("name: ", bad))),
                   path + ":6:12: workloads[0].name: names files"));
  CHECK(contains(says(good + "what_if: [{name: a/b}]\n"), "names files"));
  CHECK(contains(says(good + "what_if: [{name: a}, {name: a, compute: 2}]\n"),
                 "what_if[1]: the name 'a' stands before already"));
  const std::string trace = needle_4k() + "]}\n";
  CHECK(contains(says(replaced(good, trace, trace + "  - {name: needle, traces: [" + trace)),
                 "workloads[1]: the name 'needle' stands before already"));
  const std::string model = kRoot + "/configs/models/trace-27m.yaml]\n";
  CHECK(contains(says(replaced(good, model, replaced(model, "]", ", " + model))),
                 "models[1]: the name 'trace-27m' stands before already"));
  const std::string study = "{name: s, decode: {context: 64}}";
  CHECK(contains(says(good + "studies: [" + study + ", " + study + "]\n"),
                 "studies[1]: the name 's' stands before already"));
  std::ofstream(path) << good;
  for (const char* wrong : {"decode.batch=many", "measure.max_steps=-1", "hardware=[none.yaml]"})
    CHECK(message_of([&] {
            load_plan(path, {wrong});
          }).rfind(std::string("--set ") + wrong + ": ", 0) == 0);
  const std::string range = "{from: 0.001, to: 1, count: 1000}";
  CHECK(
      contains(says(replaced(good, "decode: {",
                             "decode: {cache_share: " + range + ", memory_share: " + range + ", ")),
               "--yes"));
}

TEST_CASE("Mistakes in measured points", "[sim]") {
  const TempDir folder;
  const std::string path = folder.file("m.json");
  const auto says = [&](const std::string& text) {
    std::ofstream(path) << text;
    return message_of([&] { load_measured(path); });
  };
  CHECK(contains(says("{\"format\": \"x\", \"version\": 1, \"points\": [1]}"), "doublep-measured"));
  CHECK(contains(says("{\"format\": \"doublep-measured\", \"version\": 2, \"points\": [1]}"),
                 "version 1"));
  const std::string head = "{\"format\": \"doublep-measured\", \"version\": 1, \"points\": [\n";
  CHECK(contains(says(head + "{\"policy\": \"p\", \"context\": 9, \"batch\": 1, \"seconds\": 0}]}"),
                 ":2:"));
  CHECK(contains(says(head + "{\"policy\": \"p\", \"context\": 9, \"batch\": 1, \"seconds\": 1}]}"),
                 "stage_bytes"));
}

TEST_CASE("The program: a run, its file, and one line with exit code 2", "[sim]") {
  const TempDir folder;
  const std::string path = folder.file("plan.yaml"), out = folder.file("r.h5");
  std::ofstream(path) << plan_text();
  const std::string quiet = " >" + folder.file("out") + " 2>" + folder.file("err");
  CHECK(run("simulate " + path + " -o " + out + " --dry-run" + quiet) == 0);
  CHECK_FALSE(fs::exists(out));
  CHECK(run("simulate " + path + " -o " + out + quiet) == 0);
  const h5::Handle file = h5::open_file(out);
  CHECK(h5::read_string(file.get(), "format", out) == "doublep-simulation");
  const h5::Handle runs = h5::open_group(file.get(), "runs", out);
  CHECK(h5::children(runs.get()).size() == 3);
  CHECK(contains(read(folder.file("out")), "18 points in"));
  std::ofstream(path) << replaced(plan_text(), "batch:", "bach:");
  CHECK(run("simulate " + path + quiet) == 2);
  const std::string error = read(folder.file("err"));
  CHECK(contains(error, path + ":10:"));
  CHECK(std::count(error.begin(), error.end(), '\n') == 1);
}
