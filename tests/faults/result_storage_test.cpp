// Results of another version, and results or parts whose tables are not all in the file.
#include <sys/stat.h>

#include "core/base/hash.h"
#include "experiments/results/image.h"
#include "experiments/results/result_reader.h"
#include "experiments/results/result_store.h"
#include "tests/catch.h"
#include "tests/support/small_sweep.h"

using namespace doublep;
using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

h5::Handle writable(const std::string& path) {
  return {H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose};
}

std::string first_key(const std::string& path) {
  const h5::Handle file = h5::open_file(path), runs = h5::open_group(file.get(), "runs", path);
  return h5::children(runs.get()).at(0);
}

// Replaces runs/<key>/rows by one of the same type and `rows` records, created as `set` wants it.
template <class Set>
void remake_rows(const std::string& path, const std::string& key, const Set& set,
                 hsize_t rows = 6) {
  const h5::Handle file = writable(path);
  const std::string name = "runs/" + key + "/rows";
  h5::Handle type;
  {
    const h5::Handle old(H5Dopen2(file.get(), name.c_str(), H5P_DEFAULT), H5Dclose);
    type = h5::Handle(H5Dget_type(old.get()), H5Tclose);
  }
  H5Ldelete(file.get(), name.c_str(), H5P_DEFAULT);
  const h5::Handle space(H5Screate_simple(1, &rows, nullptr), H5Sclose);
  const h5::Handle plist(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  set(plist.get(), space.get(), rows * H5Tget_size(type.get()));
  const h5::Handle made(H5Dcreate2(file.get(), name.c_str(), type.get(), space.get(), H5P_DEFAULT,
                                   plist.get(), H5P_DEFAULT),
                        H5Dclose);
  REQUIRE(made);
}

// The ways in which rows lie elsewhere or nowhere, and what is said of each.
struct Elsewhere {
  const char* says;
  std::function<void(const std::string& path, const std::string& key)> make;
};

std::vector<Elsewhere> elsewhere(const SmallSweep& sweep) {
  const std::string source = sweep.file("source.h5"), fifo = sweep.file("fifo");
  fs::copy_file(sweep.result(), source, fs::copy_options::overwrite_existing);
  if (!fs::exists(fifo)) REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  const auto external = [](const std::string& raw) {
    return [raw](const std::string& path, const std::string& key) {
      remake_rows(path, key, [&](hid_t plist, hid_t, std::size_t bytes) {
        REQUIRE(H5Pset_external(plist, raw.c_str(), 0, bytes) >= 0);
      });
    };
  };
  const auto link = [](const std::string& target) {
    return [target](const std::string& path, const std::string& key) {
      const h5::Handle file = writable(path);
      const std::string name = "runs/" + key + "/rows";
      H5Ldelete(file.get(), name.c_str(), H5P_DEFAULT);
      REQUIRE(H5Lcreate_external(target.c_str(), name.c_str(), file.get(), name.c_str(),
                                 H5P_DEFAULT, H5P_DEFAULT) >= 0);
    };
  };
  return {{"virtual dataset",
           [source](const std::string& path, const std::string& key) {
             remake_rows(path, key, [&](hid_t plist, hid_t space, std::size_t) {
               const std::string rows = "runs/" + key + "/rows";
               REQUIRE(H5Pset_virtual(plist, space, source.c_str(), rows.c_str(), space) >= 0);
             });
           }},
          {"external storage", external("/etc/passwd")},
          {"external storage", external(fifo)},
          {"link into another file", link(source)},
          {"link into another file", link(fifo)},
          {"are not stored", [](const std::string& path, const std::string& key) {
             remake_rows(path, key, [](hid_t plist, hid_t, std::size_t) {
               const hsize_t chunk = 6;
               H5Pset_chunk(plist, 1, &chunk);
             });
           }}};
}

}  // namespace

TEST_CASE("a result and a part hold no text of variable length, and checksums of their tables") {
  const SmallSweep sweep("toy.h5", "  - {policy: double_p, tokens_per_cluster: 4}\n");
  REQUIRE(sweep.run().code == 0);
  const std::string key = first_key(sweep.result());
  Sweep loaded = load_sweep(sweep.config());
  loaded.output = sweep.file("other.h5");
  const ResultFile result = ResultFile::load(sweep.result());
  ReplayResult run;
  run.rows = result.runs[0].rows, run.layers = result.runs[0].layers, run.steps = {0, 1, 2};
  ResultStore store(loaded);
  store.write({result.runs[0].key, 0, &loaded.runs[0], "0", 1}, run);
  for (const std::string& path :
       {sweep.result(), loaded.output + ".parts/" + result.runs[0].key + ".h5"}) {
    CAPTURE(path);
    struct Counts {
      int texts = 0, variable = 0, tables = 0, unchecked = 0;
    } counts;
    const auto look = [](hid_t root, const char* name, const H5L_info_t*, void* out) -> herr_t {
      Counts& n = *static_cast<Counts*>(out);
      const h5::Handle object(H5Oopen(root, name, H5P_DEFAULT), H5Oclose);
      const auto attribute = [](hid_t of, const char* called, const H5A_info_t*,
                                void* to) -> herr_t {
        Counts& all = *static_cast<Counts*>(to);
        const h5::Handle opened(H5Aopen(of, called, H5P_DEFAULT), H5Aclose);
        const h5::Handle type(H5Aget_type(opened.get()), H5Tclose);
        all.texts += H5Tget_class(type.get()) == H5T_STRING;
        all.variable += H5Tis_variable_str(type.get()) > 0;
        return 0;
      };
      H5Aiterate2(object.get(), H5_INDEX_NAME, H5_ITER_INC, nullptr, attribute, out);
      if (H5Iget_type(object.get()) != H5I_DATASET) return 0;
      const h5::Handle type(H5Dget_type(object.get()), H5Tclose);
      const h5::Handle plist(H5Dget_create_plist(object.get()), H5Pclose);
      bool checked = false;
      for (int i = 0; i < H5Pget_nfilters(plist.get()); ++i) {
        unsigned flags = 0, config = 0;
        std::size_t values = 0;
        checked |= H5Pget_filter2(plist.get(), static_cast<unsigned>(i), &flags, &values, nullptr,
                                  0, nullptr, &config) == H5Z_FILTER_FLETCHER32;
      }
      ++n.tables, n.unchecked += !checked;
      n.variable += H5Tdetect_class(type.get(), H5T_VLEN) > 0;
      return 0;
    };
    const h5::Handle file = h5::open_file(path);
    // By links: H5Ovisit has other arguments in HDF5 1.12. The root has none to it.
    REQUIRE(look(file.get(), ".", nullptr, &counts) >= 0);
    REQUIRE(H5Lvisit(file.get(), H5_INDEX_NAME, H5_ITER_INC, look, &counts) >= 0);
    CHECK(counts.texts > 5);
    CHECK(counts.tables >= 2);
    CHECK(counts.variable == 0);
    CHECK(counts.unchecked == 0);
  }
}

TEST_CASE("a result of another version is refused by one line with both versions and the remedy") {
  const SmallSweep sweep;
  REQUIRE(sweep.run().code == 0);
  const std::string good = sweep.export_csv().out;
  const std::string ours = concat("reads version ", kResultVersion);
  // 2 is that of results whose required fields grew without it.
  for (const std::int64_t version : {1, 2, 99}) {
    {
      const h5::Handle file = writable(sweep.result());
      H5Adelete(file.get(), "version");
      h5::write_int(file.get(), "version", version);
    }
    spill(sweep.file("b.yaml"), "none\n");
    for (const auto& arguments : std::vector<std::vector<std::string>>{
             {"export", sweep.result()},
             {"check", sweep.result(), "--baseline", sweep.file("b.yaml"), "--update"}}) {
      const ProgramResult refused = sweep.program(arguments);
      INFO(refused.err);
      CHECK(refused.code == 2);
      CHECK(refused.out.empty());
      CHECK(is_one_clear_line(refused.err, {sweep.result(), concat("of version ", version, ","),
                                            ours, "run the sweep again"}));
    }
    CHECK(slurp(sweep.file("b.yaml")) == "none\n");
  }
  // The remedy is one: nothing of the old file counts.
  const ProgramResult again = sweep.run();
  CHECK(again.out.find("2 runs (0 were there already)") != std::string::npos);
  CHECK(sweep.export_csv().out == good);
}

TEST_CASE("a result whose rows are not in the file is refused by what they are, and run mends it") {
  const SmallSweep sweep;
  REQUIRE(sweep.run().code == 0);
  const std::string good = sweep.export_csv().out, bytes = slurp(sweep.result());
  const std::string key = first_key(sweep.result());
  for (const Elsewhere& damage : elsewhere(sweep)) {
    spill(sweep.result(), bytes);
    damage.make(sweep.result(), key);
    const ProgramResult refused = sweep.export_csv();
    INFO(damage.says << ": " << refused.err);
    CHECK(refused.code == 2);
    CHECK(is_one_clear_line(refused.err, {sweep.result(), "rows", damage.says}));
    CHECK(sweep.run().out.find("(1 were there already)") != std::string::npos);
    CHECK(sweep.export_csv().out == good);
  }
}

TEST_CASE("a part whose rows are not in the file counts as absent, though its checksum is right") {
  const SmallSweep sweep;
  REQUIRE(sweep.run().code == 0);
  Sweep loaded = load_sweep(sweep.config());
  loaded.output = sweep.result();
  const ResultFile result = ResultFile::load(sweep.result());
  const std::string key = result.runs[0].key, part = sweep.result() + ".parts/" + key;
  const std::vector<Elsewhere> damages = elsewhere(sweep);
  fs::remove(sweep.result());
  ResultStore store(loaded);
  for (const Elsewhere& damage : damages) {
    ReplayResult run;
    run.rows = result.runs[0].rows, run.layers = result.runs[0].layers;
    run.steps = {0, 1, 2}, run.target_p = result.runs[0].target_p;
    store.write({key, 0, &loaded.runs[0], "0", 1}, run);
    CHECK(store.has(key, true));
    damage.make(part + ".h5", key);
    spill(part + ".sha256", sha256_of_file(part + ".h5") + "\n");
    INFO(damage.says);
    CHECK(!store.has(key, true));
  }
}
