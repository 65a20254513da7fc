#include "tests/fuzz/readers.h"

#include <algorithm>
#include <filesystem>
#include <stdexcept>

#include "core/base/error.h"
#include "core/trace/raw_tensor.h"
#include "core/trace/trace.h"
#include "experiments/config/sweep.h"
#include "experiments/gate/gate.h"
#include "experiments/results/result_reader.h"
#include "experiments/simulate/inputs.h"
#include "sim/profile/profile.h"
#include "tests/fuzz/hdf5_edits.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tensor_folder.h"
#include "tests/support/trace_file.h"

namespace doublep::test {
namespace fs = std::filesystem;
namespace {

void read_trace(const std::string& path) {
  const Trace trace = Trace::open(path);
  for (int layer : trace.info().layers) trace.read_layer(layer);
}

void check(const RawTensor& tensor) {
  if (tensor.type) tensor.check_values();
}

// A sweep over the toy trace and what becomes of it, made by the program itself.
struct Made {
  Bytes trace, result, baseline, profile;
};

Made make() {
  TempDir dir;
  const auto run = [&](const std::vector<std::string>& arguments) {
    const ProgramResult r = run_program(arguments, dir.path());
    if (r.code != 0) throw std::runtime_error("doublep " + arguments[0] + ": " + r.err);
  };
  fs::copy_file(TraceFile().path(), dir.file("toy.h5"));
  spill(dir.file("s.yaml"),
        "name: toy\ntraces: [toy.h5]\noutput: toy-result.h5\n"
        "policies: [{policy: double_p, sink: 1, window: 2, audit: 4}, {policy: dense}]\n");
  run({"run", dir.file("s.yaml"), "-o", dir.file("result.h5")});
  run({"check", dir.file("result.h5"), "--baseline", dir.file("baseline.yaml"), "--update"});
  run({"simulate", kRoot + "/configs/simulate.yaml", "--set",
       "workloads=[{name: toy, traces: [" + dir.file("toy.h5") + "]}]", "--record", dir.path()});
  return {slurp(dir.file("toy.h5")), slurp(dir.file("result.h5")), slurp(dir.file("baseline.yaml")),
          slurp(dir.file("toy.tsv"))};
}

}  // namespace

const std::vector<Reader>& readers() {
  static const std::vector<Reader> all = {
      {"trace", ".h5", read_trace},
      {"sweep", ".yaml", [](const std::string& path) { load_sweep(path); }},
      {"result", ".h5", [](const std::string& path) { ResultFile::load(path); }},
      {"baseline", ".yaml", [](const std::string& path) { Baseline::load(path); }},
      {"profile", ".tsv", [](const std::string& path) { sim::read_profiles(path); }},
      {"npy", ".npy", [](const std::string& path) { check(read_npy(path)); }},
      {"safetensors", ".safetensors",
       [](const std::string& path) {
         for (const auto& [name, tensor] : read_safetensors(path)) check(tensor);
       }},
      {"measured", ".json", [](const std::string& path) { sim::load_measured(path); }}};
  return all;
}

const Reader& reader(const std::string& name) {
  for (const Reader& r : readers())
    if (r.name == name) return r;
  throw std::out_of_range("no reader named " + name);
}

std::optional<std::string> refusal(const Reader& reader, const Bytes& input, const Bytes& base) {
  static const TempDir dir;
  const std::string path = dir.file("input" + reader.suffix);
  spill(dir.file("toy.h5"), "");  // that sweeps may name: it must be there
  const bool edits = reader.suffix == ".h5" && input.rfind("\x89HDF", 0) != 0;
  spill(path, edits ? edited(base, input) : input);
  try {
    reader.read(path);
  } catch (const InputError& e) {
    return e.what();
  }
  return std::nullopt;
}

bool is_one_plain_line(const std::string& message) {
  return !message.empty() && std::none_of(message.begin(), message.end(),
                                          [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

std::vector<Seed> sound_seeds(const std::string& reader) {
  std::vector<Seed> seeds;
  if (reader == "trace" || reader == "result" || reader == "baseline" || reader == "profile") {
    static const Made made = make();
    seeds.push_back({"made", reader == "trace"      ? made.trace
                             : reader == "result"   ? made.result
                             : reader == "baseline" ? made.baseline
                                                    : made.profile});
  }
  const Tensor small = tensor({2, 3}, {1, 2, 3, 4, 5, 6});
  if (reader == "npy") seeds.push_back({"made", npy(small)});
  if (reader == "safetensors")
    seeds.push_back({"made", safetensors({{"layers.1.keys", small}, {"layers.1.values", small}})});
  const fs::path folder = kRoot + "/tests/fuzz/seeds/" + reader;
  if (fs::is_directory(folder))
    for (const auto& entry : fs::directory_iterator(folder))
      seeds.push_back({entry.path().filename().string(), slurp(entry.path())});
  return seeds;
}

}  // namespace doublep::test
