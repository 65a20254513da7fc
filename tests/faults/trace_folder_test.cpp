// A folder of tensors wherever a command takes a trace: the same rows as from the HDF5 file that
// holds the same values.
#include <algorithm>
#include <sstream>

#include "tests/support/program.h"
#include "tests/support/refusal.h"
#include "tests/support/tensor_folder.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// The program on one trace called "toy", whatever it is.
class OnTrace {
 public:
  explicit OnTrace(const std::string& trace) : trace_(trace) {
    spill(dir_.file("s.yaml"),
          "traces: ['" + trace + "']\npolicies:\n" +
              "  - {policy: double_p, sink: 1, window: 2, tokens_per_cluster: 4}\n"
              "  - {policy: oracle_top_p, p: [0.5, 0.9]}\n");
    spill(dir_.file("t.yaml"), "traces: ['" + trace +
                                   "']\ntarget: {metric: output_error, at_most: 0.5}\n"
                                   "policies:\n  - {policy: oracle_top_p, p: [0.5, 0.9, 0.99]}\n");
  }
  std::string output(const std::vector<std::string>& arguments) const {
    const ProgramResult result = run_program(arguments, dir_.path());
    CAPTURE(arguments, result.err);
    CHECK(result.code == 0);
    return result.out;
  }
  std::string rows() const {
    output({"run", file("s.yaml"), "-o", file("r.h5")});
    std::istringstream exported(output({"export", file("r.h5")}));
    std::string rows;
    for (std::string line; std::getline(exported, line);) {
      // "toy",<hash>,<key of the run>,...: both are the files', the rest has to be the same.
      const std::size_t name = line.find(','), hash = line.find(',', name + 1);
      rows += line.substr(0, name) + line.substr(line.find(',', hash + 1)) + "\n";
    }
    return rows;
  }
  std::string statistics() const { return output({"inspect", trace_, "--csv", "-"}); }
  std::string validated() const { return output({"validate", trace_}).substr(trace_.size()); }
  std::string tuned() const {
    output({"tune", file("t.yaml"), "-o", file("tuned.yaml")});
    const std::string text = slurp(file("tuned.yaml"));
    return text.substr(text.find("policy:"));  // behind the trace's name, hash and path
  }
  std::string file(const std::string& name) const { return dir_.file(name); }

 private:
  TempDir dir_;
  std::string trace_;
};

}  // namespace

TEST_CASE("the same values in HDF5, .npy and .safetensors replay to the same rows") {
  const TraceFile made;
  const TensorFolder npy(TensorFolder::kNpy), tensors(TensorFolder::kSafetensors);
  const OnTrace hdf5(made.path());
  const std::string rows = hdf5.rows();
  CHECK(std::count(rows.begin(), rows.end(), '\n') ==
        1 + 3 * 2 * 3 * 4);  // runs, layers, steps, heads
  const std::string statistics = hdf5.statistics(), valid = hdf5.validated();
  CHECK(contains(valid, "a valid trace: 20 tokens, 3 steps, 2 layers"));
  for (const std::string& path : {npy.path(), tensors.path()}) {
    CAPTURE(path);
    const OnTrace folder(path);
    CHECK(folder.rows() == rows);
    CHECK(folder.statistics() == statistics);
    CHECK(folder.validated() == valid);
    CHECK(contains(folder.output({"validate", path + "/trace.yaml"}), "a valid trace"));
  }
  CHECK(OnTrace(npy.path()).tuned() == hdf5.tuned());
}

TEST_CASE("recorded outputs of a folder are held against dense attention") {
  TensorFolder folder(TensorFolder::kNpy);
  folder[folder.name("1", "outputs")] = tensor({3, 4, 8}, std::vector<float>(3 * 4 * 8, 0.5f));
  folder.write();
  const TempDir dir;
  const ProgramResult result = run_program({"validate", folder.path()}, dir.path());
  CHECK(result.code == 2);
  CHECK(contains(result.err, "layers/1/outputs differ from dense attention"));
}

TEST_CASE("an output over a file of the folder is refused") {
  const TensorFolder folder(TensorFolder::kNpy);
  const OnTrace on(folder.path());
  for (const char* name : {"layer1.keys.npy", "trace.yaml"}) {
    const std::string before = slurp(folder.file(name));
    for (const auto& arguments :
         {std::vector<std::string>{"run", on.file("s.yaml"), "-o", folder.file(name)},
          {"inspect", folder.path(), "--csv", folder.file(name)}}) {
      const TempDir dir;
      const ProgramResult result = run_program(arguments, dir.path());
      CHECK(result.code == 2);
      CHECK(contains(result.err, "would destroy"));
    }
    CHECK(slurp(folder.file(name)) == before);
  }
}
