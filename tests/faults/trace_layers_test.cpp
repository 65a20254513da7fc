// Layers that a replay would get wrong: another attention than softmax over all visible keys, and
// recorded outputs that are not those of what was recorded.
#include "tests/support/program.h"
#include "tests/support/refusal.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

void set_on_layer(const TraceFile& file, const char* name, double value,
                  const char* layer = "layers/10") {
  const h5::Handle f(H5Fopen(file.path().c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
  const h5::Handle group(H5Gopen2(f.get(), layer, H5P_DEFAULT), H5Gclose);
  if (std::string(name) == "sliding_window")
    h5::write_int(group.get(), name, static_cast<std::int64_t>(value));
  else
    h5::write_real(group.get(), name, value);
}

// Dense outputs of layer 1, each `off` from the truth.
void record_outputs(const TraceFile& file, float off) {
  std::vector<float> outputs;
  {  // closed again before the file is written
    const Trace trace = file.open();
    const TraceLayer data = trace.read_layer(1);
    for (std::int64_t t = 0; t < trace.info().num_steps(); ++t) {
      const auto decoder = make_decoder("dense");
      decoder->prefill(trace.cache(data).first(trace.info().positions[t] + 1));
      const auto step = decoder->step(trace.queries(data, t), Detail::kOutput);
      for (float o : step.output) outputs.push_back(o + off);
    }
  }
  file.replace("layers/1/outputs", {3, 4, 8}, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, outputs.data());
}

std::string sweep_of(const TraceFile& file, const TempDir& dir, const std::string& replay) {
  const std::string path = dir.file("s.yaml");
  spill(path, "traces: [" + file.path() + "]\n" + replay + "policies: [{policy: streaming}]\n");
  return path;
}

}  // namespace

TEST_CASE("a layer with a soft cap or a sliding window is refused by name, the others replay") {
  for (const auto& [name, value, text] : {std::tuple{"logit_softcap", 50.0, "logit_softcap = 50"},
                                          {"sliding_window", 8.0, "sliding_window = 8"}}) {
    const TraceFile file;
    set_on_layer(file, name, value);
    const TempDir dir;
    const Trace trace = file.open();
    CHECK(trace.read_layer(1).keys.size() == 320);
    const auto message = message_of([&] { trace.read_layer(10); });
    CHECK(contains(message, "layers/10"));
    CHECK(contains(message, text));
    for (const std::string command : {"validate", "run"}) {
      const auto all = run_program({command, sweep_of(file, dir, "")}, dir.path());
      CHECK(all.code == 2);
      CHECK(is_one_clear_line(all.err, {file.path(), "layers/10", text}));
    }
    const auto alone = run_program({"validate", file.path()}, dir.path());
    CHECK(is_one_clear_line(alone.err, {"layers/10", text}));
    const auto chosen =
        run_program({"run", sweep_of(file, dir, "replay: {layers: [1]}\n")}, dir.path());
    CAPTURE(chosen.err);
    CHECK(chosen.code == 0);
  }
  const TraceFile none, wide;  // what a configuration says for "no cap"; a window over every key
  set_on_layer(none, "logit_softcap", 0);
  CHECK(none.open().read_layer(10).keys.size() == 320);
  set_on_layer(wide, "sliding_window", 4096);
  CHECK(wide.open().read_layer(10).keys.size() == 320);
}

TEST_CASE(
    "inspect names the layer that it leaves out, and refuses where it would be the only one") {
  const TraceFile file;
  set_on_layer(file, "sliding_window", 8);
  const TempDir dir;
  const auto csv = dir.file("heads.csv");
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"--heads"}}) {
    std::vector<std::string> words = {"inspect", file.path(), "--csv", csv};
    words.insert(words.end(), more.begin(), more.end());
    const auto others = run_program(words, dir.path());
    CAPTURE(others.err);
    CHECK(others.code == 0);
    CHECK(contains(others.out, "10 has sliding_window = 8, which is not supported: left out"));
    const std::string rows = slurp(csv);
    CHECK(contains(rows, "\n1,3,1,"));  // layer 1, head 3, KV head 1
    CHECK_FALSE(contains(rows, "\n10,"));
    CHECK(contains(others.err, "[1/1] layer 1"));  // how far it is
    CHECK(contains(others.out, "no prefill_queries, the first half") == !more.empty());
  }
  const auto named = run_program({"inspect", file.path(), "--layers", "1,10"}, dir.path());
  CHECK(named.code == 2);
  CHECK(is_one_clear_line(named.err, {file.path(), "layers/10", "sliding_window = 8"}));
  set_on_layer(file, "logit_softcap", 30, "layers/1");
  const auto none = run_program({"inspect", file.path()}, dir.path());
  CHECK(none.code == 2);
  CHECK(is_one_clear_line(none.err, {file.path(), "layers/1", "logit_softcap = 30"}));
}

TEST_CASE("recorded outputs that differ are an error of validate, run and tune, unless allowed") {
  const TraceFile right, wrong;
  record_outputs(right, 0);
  record_outputs(wrong, 0.01f);
  const TempDir dir;
  const auto good = run_program({"validate", right.path()}, dir.path());
  CHECK(good.code == 0);
  CHECK(contains(good.out, "recorded outputs agree in 1"));
  const std::string sweep = sweep_of(wrong, dir, ""), tuning = dir.file("t.yaml");
  spill(tuning, slurp(sweep) + "target: {metric: output_error, at_most: 10}\noutput: " +
                    dir.file("t.h5") + "\n");
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"validate", wrong.path()}, {"validate", sweep}, {"run", sweep}, {"tune", tuning}}) {
    const auto refused = run_program(arguments, dir.path());
    CAPTURE(refused.err);
    CHECK(refused.code == 2);
    CHECK(contains(refused.err, "layers/1/outputs"));
    CHECK(contains(refused.err, "tolerance 0.001"));
    CHECK(contains(refused.err, "--allow-mismatch"));
    auto allowed = arguments;
    allowed.push_back("--allow-mismatch");
    const auto passed = run_program(allowed, dir.path());
    CAPTURE(passed.err);
    CHECK(passed.code == 0);
    CHECK(contains(passed.err, "warning: " + wrong.path() + ": layers/1/outputs"));
  }
}
