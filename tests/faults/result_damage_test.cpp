// Bit rot and hostile files: a damaged result or part is refused or harmless, and run mends it.
#include <map>
#include <sstream>

#include "core/trace/hdf5/trace_writer.h"
#include "experiments/results/attributes.h"
#include "experiments/results/image.h"
#include "experiments/results/result_reader.h"
#include "experiments/results/result_store.h"
#include "tests/catch.h"
#include "tests/support/small_sweep.h"

using namespace doublep;
using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

// The first run's rows become a table that declares `declared` rows and holds `stored` ones, all
// zero.
void write_rows(const std::string& path, hsize_t declared, hsize_t stored) {
  const h5::Handle file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
  const h5::Handle runs = h5::open_group(file.get(), "runs", path);
  const std::string key = h5::children(runs.get()).at(0);
  const h5::Handle run = h5::open_group(runs.get(), key, path);
  h5::Handle type;
  {
    const h5::Handle old(H5Dopen2(run.get(), "rows", H5P_DEFAULT), H5Dclose);
    type = h5::Handle(H5Dget_type(old.get()), H5Tclose);
  }
  H5Ldelete(run.get(), "rows", H5P_DEFAULT);
  const hsize_t chunk = 400;
  const h5::Handle options(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_chunk(options.get(), 1, &chunk);
  H5Pset_deflate(options.get(), 9);
  const h5::Handle space(H5Screate_simple(1, &declared, nullptr), H5Sclose);
  const h5::Handle set(H5Dcreate2(run.get(), "rows", type.get(), space.get(), H5P_DEFAULT,
                                  options.get(), H5P_DEFAULT),
                       H5Dclose);
  REQUIRE(static_cast<bool>(set));
  const std::vector<char> zeros(chunk * H5Tget_size(type.get()), 0);
  const h5::Handle memory(H5Screate_simple(1, &chunk, nullptr), H5Sclose);
  for (hsize_t start = 0; start < stored; start += chunk) {
    H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, &start, nullptr, &chunk, nullptr);
    REQUIRE(H5Dwrite(set.get(), type.get(), memory.get(), space.get(), H5P_DEFAULT, zeros.data()) >=
            0);
  }
}

}  // namespace

TEST_CASE("one flipped byte of a finished result is refused or changes nothing, and run mends it",
          "[heavy]") {
  const SmallSweep sweep;
  REQUIRE(sweep.run().code == 0);
  const std::string good = sweep.export_csv().out, bytes = slurp(sweep.result());
  REQUIRE(good.size() > 1000);
  const std::size_t stride = bytes.size() / 200 | 1;
  int refused = 0, mended = 0;
  for (std::size_t i = stride / 2; i < bytes.size(); i += stride) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ (i % 2 == 0 ? 0xff : 1 << i % 8));
    spill(sweep.result(), damaged);
    const ProgramResult outcome = sweep.export_csv();
    INFO("byte " << i << " of " << bytes.size() << ": " << outcome.err);
    if (outcome.code == 0) {
      CHECK(outcome.out == good);
      continue;
    }
    ++refused;
    CHECK(outcome.code == 2);
    CHECK(outcome.out.empty());
    CHECK(is_one_clear_line(outcome.err, {sweep.result()}));
    CHECK(outcome.err.find("disk full") == std::string::npos);
    if (refused % 8 != 1) continue;
    CHECK(sweep.run().code == 0);
    CHECK(sweep.export_csv().out == good);
    ++mended;
  }
  CHECK(refused > 50);  // what remains is room that no object uses
  CHECK(mended > 5);
}

TEST_CASE("damage names the run, and only that run is done again") {
  const SmallSweep sweep;
  REQUIRE(sweep.run().code == 0);
  const std::string good = sweep.export_csv().out, baseline = sweep.file("b.yaml");
  REQUIRE(sweep.program({"check", sweep.result(), "--baseline", baseline, "--update"}).code == 0);
  {
    const h5::Handle file(H5Fopen(sweep.result().c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    const h5::Handle runs = h5::open_group(file.get(), "runs", "r");
    for (const std::string& key : h5::children(runs.get())) {
      const h5::Handle run = h5::open_group(runs.get(), key, "r");
      if (h5::read_string(run.get(), "policy", "r") != "streaming") continue;
      H5Adelete(run.get(), "target_p");
      h5::write_real(run.get(), "target_p", 0.25);
    }
  }
  for (const ProgramResult& refused :
       {sweep.export_csv(), sweep.program({"check", sweep.result(), "--baseline", baseline}),
        sweep.program({"check", sweep.result(), "--baseline", baseline, "--update"})}) {
    INFO(refused.err);
    CHECK(refused.code == 2);
    CHECK(is_one_clear_line(refused.err, {sweep.result(), "run ", "(streaming", "damaged"}));
  }
  const ProgramResult again = sweep.run();
  CHECK(again.out.find("2 runs (1 were there already)") != std::string::npos);
  CHECK(sweep.export_csv().out == good);
}

TEST_CASE("a trace's attribute that is no number, and a renamed trace, are damage") {
  const SmallSweep sweep;
  REQUIRE(sweep.run().code == 0);
  const std::string good = sweep.export_csv().out;
  const auto edit = [&](const std::string& group, const char* name, const std::string& value) {
    const h5::Handle file(H5Fopen(sweep.result().c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    const h5::Handle opened = h5::open_group(file.get(), group, "r");
    H5Adelete(opened.get(), name);
    h5::write_string(opened.get(), name, value);
  };
  edit("traces/0", "name", "other");
  ProgramResult refused = sweep.export_csv();
  CHECK(refused.code == 2);
  CHECK(is_one_clear_line(refused.err, {sweep.result(), "of a trace", "damaged"}));
  CHECK(sweep.run().out.find("(2 were there already)") != std::string::npos);
  CHECK(sweep.export_csv().out == good);
  // Hand-made, with a hash that is right.
  ResultFile file = ResultFile::load(sweep.result());
  FileImage image;
  const h5::Handle traces = h5::create_group(image.root(), "traces", "x");
  const h5::Handle runs = h5::create_group(image.root(), "runs", "x");
  {
    const h5::Handle from = h5::open_file(sweep.result());
    H5Ocopy(from.get(), "traces/0", traces.get(), "0", H5P_DEFAULT, H5P_DEFAULT);
    write_attributes(image.root(), read_attributes(from.get(), "x"));
    const h5::Handle old = h5::open_group(from.get(), "runs", "x");
    RunContent run = read_run(old.get(), file.runs[0].key, "x");
    run.attributes["trace"] = "abc";
    write_run(runs.get(), file.runs[0].key, run, "x");
  }
  image.save(sweep.file("made.h5"));
  refused = sweep.program({"export", sweep.file("made.h5")});
  INFO(refused.err);
  CHECK(refused.code == 2);
  CHECK(is_one_clear_line(refused.err, {"made.h5", "attribute trace is 'abc'", "/traces"}));
}

TEST_CASE("a flipped byte of a part costs that run at most", "[heavy]") {
  const SmallSweep sweep;
  REQUIRE(sweep.run().code == 0);
  const std::string good = sweep.export_csv().out;
  // Parts, as an interruption leaves them: one run is whole, its file and its checksum.
  Sweep loaded = load_sweep(sweep.config());
  loaded.output = sweep.result();
  const ResultFile result = ResultFile::load(sweep.result());
  const fs::path parts = sweep.result() + ".parts";
  const std::string key = result.runs[0].key, name = (parts / key).string();
  fs::remove(sweep.result());
  {
    ResultStore store(loaded);
    ReplayResult run;
    run.rows = result.runs[0].rows, run.layers = result.runs[0].layers;
    run.steps = {0, 1, 2}, run.target_p = result.runs[0].target_p;
    FinishedRun finished{key, 0, &loaded.runs[0], "0", 1};
    store.write(finished, run);
  }
  const std::string bytes = slurp(name + ".h5"), checksum = slurp(name + ".sha256");
  REQUIRE(bytes.size() > 1000);
  const std::size_t stride = bytes.size() / 200 | 1;
  for (std::size_t i = 0; i < bytes.size() + 64; i += stride) {
    std::string damaged = bytes, sum = checksum;
    if (i < bytes.size())
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
    else
      sum[i - bytes.size()] = '.';
    fs::create_directories(parts);
    spill(name + ".h5", damaged);
    spill(name + ".sha256", sum);
    INFO("byte " << i << " of " << bytes.size());
    CHECK(!ResultStore(loaded).has(key, true));
    if (i / stride % 40 != 0) continue;
    const ProgramResult again = sweep.run();
    CHECK(again.code == 0);
    CHECK(sweep.export_csv().out == good);
    fs::remove(sweep.result());
  }
}

TEST_CASE("tables that declare more than they hold are refused at once, in little memory") {
  struct Case {
    hsize_t declared, stored;
    const char* says;
  };
  for (const Case& c :
       {Case{30'000'000, 0, "not stored"}, Case{hsize_t{1} << 62, 0, "not stored"},
        Case{30'000'000, 400, "sees 0 tokens"}, Case{1'000'000, 1'000'000, "sees 0 tokens"}}) {
    const SmallSweep sweep;
    REQUIRE(sweep.run().code == 0);
    write_rows(sweep.result(), c.declared, c.stored);
    const ProgramResult refused = sweep.export_csv();
    INFO(c.declared << " rows: " << refused.err);
    CHECK(refused.code == 2);
    CHECK(is_one_clear_line(refused.err, {sweep.result(), "run ", c.says}));
    if (kSanitized) continue;
    CHECK(refused.cpu_seconds < 1);
    CHECK(refused.peak_kilobytes < 100 * 1024);
  }
}

TEST_CASE("a configuration longer than an HDF5 attribute is stored and read back whole") {
  const SmallSweep sweep("toy.h5",
                         "  - {policy: streaming, window: {from: 1, to: 1200, step: 1}}\n");
  const ProgramResult run = sweep.run();
  INFO(run.err);
  REQUIRE(run.code == 0);
  const std::string config = ResultFile::load(sweep.result()).config;
  CHECK(config.size() > 65536);
  CHECK(config == resolved_config(load_sweep(sweep.config()),
                                  {ResultFile::load(sweep.result()).traces[0].hash}));
  const std::string csv = sweep.export_csv().out;
  CHECK(csv.find("streaming window=1200") != std::string::npos);
}

TEST_CASE("a long text that is no UTF-8 is cut all the same") {
  const TempDir dir;
  const std::string path = dir.file("a.h5");
  const std::string bytes = "a" + std::string(200000, '\x80');
  {
    const h5::Handle file = h5::create_file(path);
    write_attributes(file.get(), {{"config", bytes}, {"name", std::string("x")}});
  }
  const h5::Handle file = h5::open_file(path);
  CHECK(read_attributes(file.get(), path) ==
        Attributes{{"config", bytes}, {"name", std::string("x")}});
  Sha256 hash;
  add_to_hash(read_attributes(file.get(), path), hash);
}

TEST_CASE("an entry's title, and whether a policy reads every key, stand with its runs") {
  const SmallSweep sweep("toy.h5",
                         "  - {policy: streaming, window: [2, 3], title: A | B}\n"
                         "  - {policy: oracle_top_k, budget: 4}\n"
                         "  - {policy: vattention, scores: [exact, pq], title: sampled}\n"
                         "  - {policy: double_p, variant: best}\n");
  const ProgramResult run = sweep.run();
  INFO(run.err);
  REQUIRE(run.code == 0);
  const h5::Handle file = h5::open_file(sweep.result());
  std::map<std::string, std::int64_t> every_key;  // by label
  std::map<std::string, std::string> titles, variants;
  for (const StoredRun& stored : ResultFile::load(sweep.result()).runs) {
    const h5::Handle group = h5::open_group(file.get(), ("runs/" + stored.key).c_str(), "r.h5");
    titles[stored.label] = h5::read_string(group.get(), "title", "r.h5").value();
    variants[stored.label] = h5::read_string(group.get(), "variant", "r.h5").value();
    every_key[stored.label] = h5::read_int(group.get(), "reads_every_key", "r.h5").value();
  }
  CHECK(titles == std::map<std::string, std::string>{{"dense", ""},
                                                     {"streaming window=64", ""},
                                                     {"streaming window=2", "A | B"},
                                                     {"streaming window=3", "A | B"},
                                                     {"oracle_top_k", ""},
                                                     {"vattention scores=exact", "sampled"},
                                                     {"vattention scores=pq", "sampled"},
                                                     {"double_p best", ""}});
  for (const auto& [label, variant] : variants)
    CHECK(variant == (label == "double_p best" ? "best" : ""));
  for (const auto& [label, reads] : every_key)
    CHECK(reads == (label == "oracle_top_k" || label == "vattention scores=exact"));
}

TEST_CASE("a store has one owner: it cannot be copied or moved") {
  CHECK(!std::is_copy_constructible_v<ResultStore>);
  CHECK(!std::is_move_constructible_v<ResultStore>);
  CHECK(!std::is_copy_assignable_v<ResultStore>);
}

TEST_CASE("as many layers as a trace may hold are run and merged", "[heavy]") {
  constexpr int kMost = 4096;
  const TempDir folder;
  TraceInfo info;
  info.path = folder.file("deep.h5");
  info.num_query_heads = info.num_kv_heads = 1, info.head_dim = 2, info.num_tokens = 2;
  info.softmax_scale = 0.5, info.positions = {1};
  for (int layer = 0; layer < kMost; ++layer) info.layers.push_back(layer);
  TraceWriter writer(info, StoredType::kFloat32);
  TraceLayer layer;
  layer.keys = {1, 2, 3, 4}, layer.values = {1, 0, 0, 1}, layer.queries = {1, 1};
  for (layer.layer = 0; layer.layer < kMost; ++layer.layer) writer.write_layer(layer);
  writer.finish();
  spill(folder.file("s.yaml"), "traces: [deep.h5]\npolicies: [{policy: dense}]\n");
  const auto run =
      run_program({"run", folder.file("s.yaml"), "-o", folder.file("r.h5")}, folder.path());
  INFO(run.err);
  REQUIRE(run.code == 0);
  const ResultFile result = ResultFile::load(folder.file("r.h5"));
  CHECK(result.runs.at(0).rows.size() == kMost);
  CHECK(result.runs.at(0).layers.back().layer == kMost - 1);
}

TEST_CASE("two traces of one name are told apart in the CSV, and a run says what it replayed") {
  const SmallSweep sweep;
  fs::create_directory(sweep.file("other"));
  {
    const TraceFile other(StoredType::kFloat16);
    fs::copy_file(other.path(), sweep.file("other/toy.h5"));
  }
  spill(sweep.config(),
        "traces: [toy.h5, other/toy.h5]\nreplay: {layers: [10], every_step: 2}\n"
        "policies: [{policy: dense}]\n");
  REQUIRE(sweep.run().code == 0);
  const ResultFile result = ResultFile::load(sweep.result());
  REQUIRE(result.runs.size() == 2);
  CHECK(result.traces[0].name == result.traces[1].name);
  std::istringstream csv(sweep.export_csv().out);
  std::string line;
  std::getline(csv, line);
  CHECK(line.rfind("trace,trace_hash,run,", 0) == 0);
  std::map<std::string, int> rows;
  while (std::getline(csv, line)) ++rows[line.substr(0, line.find(',', line.find(',') + 1))];
  CHECK(rows.size() == 2);
  for (const StoredTrace& trace : result.traces)
    CHECK(rows["\"toy\"," + trace.hash] == 2 * TraceFile::kHeads);
  const h5::Handle file = h5::open_file(sweep.result());
  const h5::Handle run = h5::open_group(file.get(), "runs/" + result.runs[0].key, "r");
  const Attributes all = read_attributes(run.get(), "r");
  const auto integers = [&](const char* name) {
    return std::get<std::vector<std::int64_t>>(all.at(name));
  };
  CHECK(integers("layers_replayed") == std::vector<std::int64_t>{10});
  CHECK(integers("steps_replayed") == std::vector<std::int64_t>{0, 2});
}
