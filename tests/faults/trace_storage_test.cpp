// Does the reader refuse datasets whose values are not in the file, before it looks for them?
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/support/refusal.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// Makes a dataset with these creation properties, in the place of what is there.
template <class Set>
h5::Handle make_dataset(const h5::Handle& f, const Set& set, const char* name,
                        const std::vector<hsize_t>& extent, hid_t type = H5T_IEEE_F32LE) {
  if (h5::exists(f.get(), name)) H5Ldelete(f.get(), name, H5P_DEFAULT);
  const int rank = static_cast<int>(extent.size());
  const h5::Handle space(H5Screate_simple(rank, extent.data(), nullptr), H5Sclose);
  const h5::Handle plist(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  set(plist.get(), space.get());
  h5::Handle dataset(
      H5Dcreate2(f.get(), name, type, space.get(), H5P_DEFAULT, plist.get(), H5P_DEFAULT),
      H5Dclose);
  REQUIRE(dataset);
  return dataset;
}

// layers/1/keys, of the right shape and type.
template <class Set>
h5::Handle make_keys(const h5::Handle& f, const Set& set) {
  return make_dataset(f, set, "layers/1/keys", {2, 20, 8});
}

void link_out(const TraceFile& file, const char* name, const char* target_file,
              const char* target) {
  const h5::Handle f = file.writable();
  if (h5::exists(f.get(), name)) H5Ldelete(f.get(), name, H5P_DEFAULT);
  REQUIRE(H5Lcreate_external(target_file, target, f.get(), name, H5P_DEFAULT, H5P_DEFAULT) >= 0);
}

}  // namespace

TEST_CASE("a virtual dataset is refused, whether its source is there or not") {
  for (const char* source : {"missing.h5", "other.h5", "."}) {
    const TraceFile file;
    const TraceFile other;
    std::filesystem::copy(other.path(),
                          std::filesystem::path(file.path()).parent_path() / "other.h5");
    make_keys(file.writable(), [&](hid_t plist, hid_t space) {
      // "." is the file itself: the dataset maps onto itself.
      REQUIRE(H5Pset_virtual(plist, space, source, "layers/1/keys", space) >= 0);
    });
    expect_refusal(file, {"layers/1/keys", "virtual"});
  }
}

TEST_CASE("no dataset lies elsewhere or nowhere, those that may be missing no more than others") {
  struct Dataset {
    const char* name;
    std::vector<hsize_t> extent;
    hid_t type = H5T_IEEE_F32LE;
  };
  using Set = std::function<void(hid_t plist, hid_t space)>;
  const std::vector<std::pair<std::string, Set>> kinds = {
      {"virtual dataset",
       [](hid_t plist, hid_t space) {
         REQUIRE(H5Pset_virtual(plist, space, "missing.h5", "/x", space) >= 0);
       }},
      {"external storage",
       [](hid_t plist, hid_t) {
         REQUIRE(H5Pset_external(plist, "/etc/passwd", 0, H5F_UNLIMITED) >= 0);
       }},
      {"never written", [](hid_t, hid_t) {}},
      {"another file", nullptr}};
  for (const Dataset& d : std::vector<Dataset>{{"positions", {3}, H5T_STD_I64LE},
                                               {"layers/1/keys", {2, 20, 8}},
                                               {"layers/1/values", {2, 20, 8}},
                                               {"layers/10/queries", {3, 4, 8}},
                                               {"layers/10/outputs", {3, 4, 8}},
                                               {"layers/10/prefill_queries", {5, 4, 8}}})
    for (const auto& [says, set] : kinds) {
      CAPTURE(d.name, says);
      const TraceFile file;
      if (set)
        make_dataset(file.writable(), set, d.name, d.extent, d.type);
      else
        link_out(file, d.name, "missing.h5", "/x");
      expect_refusal(file, {d.name, says});
    }
}

TEST_CASE("external storage is refused, and not opened") {
  const TraceFile file, waits, system;
  const auto set = [](const std::string& path) {
    return [path](hid_t plist, hid_t) {
      REQUIRE(H5Pset_external(plist, path.c_str(), 0, 2 * 20 * 8 * 4) >= 0);
    };
  };
  const std::string raw = file.path() + ".raw", fifo = waits.path() + ".fifo";
  std::ofstream(raw, std::ios::binary) << std::string(2 * 20 * 8 * 4, '\0');
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  make_keys(file.writable(), set(raw));
  make_keys(waits.writable(), set(fifo));
  make_keys(system.writable(), set("/etc/passwd"));
  for (const TraceFile* f : {&file, &waits, &system})
    expect_refusal(*f, {"layers/1/keys", "external storage"});
}

TEST_CASE("external links are refused wherever they stand, and not followed") {
  const TraceFile other;
  const std::string fifo = other.path() + ".fifo";
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  for (const std::string& target : {other.path(), fifo, std::string("missing.h5")}) {
    const TraceFile keys, layer, layers, positions;
    link_out(keys, "layers/1/keys", target.c_str(), "/layers/1/keys");
    expect_refusal(keys, {"layers/1/keys", "another file"});
    link_out(layer, "layers/10", target.c_str(), "/layers/10");
    expect_refusal(layer, {"layers/10", "another file"});
    link_out(layers, "layers", target.c_str(), "/layers");
    expect_refusal(layers, {"layers", "another file"});
    link_out(positions, "positions", target.c_str(), "/positions");
    expect_refusal(positions, {"positions", "another file"});
  }
}

TEST_CASE("soft links stay within the file, or are refused") {
  const TraceFile inside, outside, circle, dangling;
  const auto soft = [](const TraceFile& file, const char* name, const char* target) {
    const h5::Handle f = file.writable();
    if (h5::exists(f.get(), name)) H5Ldelete(f.get(), name, H5P_DEFAULT);
    REQUIRE(H5Lcreate_soft(target, f.get(), name, H5P_DEFAULT, H5P_DEFAULT) >= 0);
  };
  soft(inside, "layers/1/keys", "values");  // relative to its group
  soft(inside, "layers/10/keys", "/layers/1/values");
  const Trace trace = inside.open();
  CHECK(trace.read_layer(1).keys == trace.read_layer(1).values);
  CHECK(trace.read_layer(10).keys == trace.read_layer(1).values);
  link_out(outside, "layers/10/values", "other.h5", "/layers/1/keys");
  soft(outside, "layers/1/keys", "/layers/10/values");
  expect_refusal(outside, {"layers/10/values", "another file"});
  soft(circle, "layers/1/keys", "keys");
  expect_refusal(circle, {"layers/1/keys", "circle"});
  soft(dangling, "layers/1/keys", "/nowhere");
  expect_refusal(dangling, {"layers/1/keys", "missing"});
}

TEST_CASE("what was never written, or not whole, is refused and named") {
  const TraceFile never, chunks, some;
  make_keys(never.writable(), [](hid_t, hid_t) {});
  expect_refusal(never, {"layers/1/keys", "never written"});
  const auto chunked = [](hid_t plist, hid_t) {
    const std::vector<hsize_t> chunk = {1, 7, 8};
    H5Pset_chunk(plist, 3, chunk.data());
  };
  make_keys(chunks.writable(), chunked);
  expect_refusal(chunks, {"layers/1/keys", "0 of its 6 chunks"});
  {
    const h5::Handle f = some.writable();
    const h5::Handle dataset = make_keys(f, chunked);
    const std::vector<float> half(160, 1.0f);
    const std::vector<std::int64_t> start = {0, 0, 0}, count = {1, 20, 8};
    write_float_block(dataset.get(), start, count, half.data(), StoredType::kFloat32, "keys");
  }
  expect_refusal(some, {"layers/1/keys", "3 of its 6 chunks"});
}

TEST_CASE("chunks, compressed or not, are read as they were written") {
  const TraceFile file;
  std::vector<float> data(320);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = 0.125f * static_cast<float>(i);
  {
    const h5::Handle f = file.writable();
    const h5::Handle keys = make_keys(f, [](hid_t plist, hid_t) {
      const std::vector<hsize_t> chunk = {1, 7, 8};
      H5Pset_chunk(plist, 3, chunk.data());
      H5Pset_shuffle(plist);
      H5Pset_deflate(plist, 4);
      H5Pset_fletcher32(plist);
    });
    write_float_block(keys.get(), {0, 0, 0}, {2, 20, 8}, data.data(), StoredType::kFloat32, "keys");
  }
  CHECK(file.open().read_layer(1).keys == data);
  file.poke("layers/1/keys", 100, NAN);  // what passes through filters is looked at too
  expect_refusal(file, {"layers/1/keys", "finite"});
}
