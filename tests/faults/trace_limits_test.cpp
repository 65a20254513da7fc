// Are files that ask for much time or memory, or hold nonsense, refused at once with one line?
#include <sys/file.h>
#include <sys/stat.h>

#include <thread>

#include "tests/support/program.h"
#include "tests/support/refusal.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// `doublep validate`: exit code 2 and one line with the parts, within a second of computing and 100
// MB (and the stacks of its threads).
void refused_cheaply(const std::string& path, const std::vector<std::string>& parts) {
  const TempDir dir;
  ProgramOptions options;
  options.memory_limit = (100ull << 20) + (std::thread::hardware_concurrency() * (9ull << 20));
  const ProgramResult result = run_program({"validate", path}, dir.path(), options);
  CAPTURE(result.err, result.out, result.cpu_seconds);
  CHECK(result.code == 2);
  CHECK(is_one_clear_line(result.err, parts));
  CHECK(result.cpu_seconds < (kSanitized ? 20 : 1));
}

// A dataset of float32 in the place of another, in chunks, unwritten.
h5::Handle create_chunked(const h5::Handle& f, const char* name, const std::vector<hsize_t>& extent,
                          const std::vector<hsize_t>& chunk, bool deflate,
                          hid_t type = H5T_IEEE_F32LE) {
  if (h5::exists(f.get(), name)) H5Ldelete(f.get(), name, H5P_DEFAULT);
  const int rank = static_cast<int>(extent.size());
  const h5::Handle space(H5Screate_simple(rank, extent.data(), nullptr), H5Sclose);
  const h5::Handle plist(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_chunk(plist.get(), rank, chunk.data());
  if (deflate) H5Pset_deflate(plist.get(), 9);
  h5::Handle dataset(
      H5Dcreate2(f.get(), name, type, space.get(), H5P_DEFAULT, plist.get(), H5P_DEFAULT),
      H5Dclose);
  REQUIRE(dataset);
  return dataset;
}

// A chunk of zeros as deflate stores it, of a scratch dataset in the same file.
std::vector<char> deflated_zeros(const h5::Handle& f, hsize_t values) {
  const h5::Handle scratch = create_chunked(f, "scratch", {values}, {values}, true);
  const std::vector<float> zeros(values);
  H5Dwrite(scratch.get(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros.data());
  H5Dflush(scratch.get());
  const hsize_t origin = 0;
  hsize_t size = 0;
  H5Dget_chunk_storage_size(scratch.get(), &origin, &size);
  std::vector<char> raw(size);
  std::uint32_t mask = 0;
  REQUIRE(H5Dread_chunk(scratch.get(), H5P_DEFAULT, &origin, &mask, raw.data()) >= 0);
  return raw;
}

}  // namespace

TEST_CASE("sizes that are declared and not stored") {
  const TraceFile heads, dim, tokens, steps;
  heads.set_int("num_kv_heads", 1 << 20), heads.set_int("num_query_heads", 1 << 20);
  refused_cheaply(heads.path(), {"heads", "1048576"});
  dim.set_int("head_dim", 1 << 20);
  refused_cheaply(dim.path(), {"head_dim", "1048576"});

  tokens.set_int("num_tokens", 1 << 24);
  for (const char* name :
       {"layers/1/keys", "layers/1/values", "layers/10/keys", "layers/10/values"})
    create_chunked(tokens.writable(), name, {2, 1 << 24, 8}, {1, 4096, 8}, true);
  refused_cheaply(tokens.path(), {"layers/1/keys", "0 of its 8192 chunks"});

  steps.set_int("num_tokens", (std::int64_t{1} << 30) + 1);
  create_chunked(steps.writable(), "positions", {hsize_t{1} << 30}, {1 << 20}, true, H5T_STD_I64LE);
  refused_cheaply(steps.path(), {"positions", "1073741824", "fewer decode steps"});
}

TEST_CASE("gzip bombs and giant chunks") {
  const TraceFile ratio, overlong, chunk;
  ratio.set_int("num_tokens", 1 << 23);
  {
    const h5::Handle f = ratio.writable();
    const std::vector<char> raw = deflated_zeros(f, 1 << 18);
    // Two KV heads of 2^23 keys: 512 MiB of zeros in half a megabyte.
    const h5::Handle keys =
        create_chunked(f, "layers/1/keys", {2, 1 << 23, 8}, {1, 1 << 15, 8}, true);
    for (hsize_t h = 0; h < 2; ++h)
      for (hsize_t row = 0; row < 1 << 23; row += 1 << 15) {
        const hsize_t at[] = {h, row, 0};
        REQUIRE(H5Dwrite_chunk(keys.get(), H5P_DEFAULT, 0, at, raw.size(), raw.data()) >= 0);
      }
  }
  refused_cheaply(ratio.path(), {"layers/1/keys", "declares", "stores"});
  {
    const h5::Handle f = overlong.writable();  // 1280 bytes are declared, 64 MiB come out
    const std::vector<char> raw = deflated_zeros(f, 1 << 24);
    const h5::Handle keys = create_chunked(f, "layers/1/keys", {2, 20, 8}, {2, 20, 8}, true);
    const hsize_t at[] = {0, 0, 0};
    REQUIRE(H5Dwrite_chunk(keys.get(), H5P_DEFAULT, 0, at, raw.size(), raw.data()) >= 0);
  }
  refused_cheaply(overlong.path(), {"layers/1/keys", "1280"});
  chunk.set_int("num_tokens", 1 << 24);
  create_chunked(chunk.writable(), "layers/1/keys", {2, 1 << 24, 8}, {2, 1 << 24, 8}, false);
  refused_cheaply(chunk.path(), {"layers/1/keys", "chunks of 1024 MiB"});
}

TEST_CASE("attributes of 64 MB, of fixed and of variable length") {
  const std::string text(64 << 20, 'x');
  for (const bool variable : {false, true}) {
    const TraceFile file;
    file.remove_attribute("model");
    {
      const h5::Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
      H5Pset_libver_bounds(access.get(), H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
      const h5::Handle f(H5Fopen(file.path().c_str(), H5F_ACC_RDWR, access.get()), H5Fclose);
      const h5::Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
      H5Tset_size(type.get(), variable ? H5T_VARIABLE : text.size());
      const h5::Handle space(H5Screate(H5S_SCALAR), H5Sclose);
      const h5::Handle attribute(
          H5Acreate2(f.get(), "model", type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT),
          H5Aclose);
      if (!attribute && !variable) continue;  // an old header cannot hold it: nothing to refuse
      const char* pointer = text.c_str();
      REQUIRE(H5Awrite(attribute.get(), type.get(),
                       variable ? static_cast<const void*>(&pointer) : text.data()) >= 0);
    }
    refused_cheaply(file.path(), {"attribute model"});
  }
}

TEST_CASE("20,001 layers") {
  const TraceFile file;
  {
    const h5::Handle f = file.writable();
    for (int i = 11; i < 20010; ++i) {
      const std::string name = "layers/" + std::to_string(i);
      H5Lcreate_hard(f.get(), "layers/10", f.get(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT);
    }
  }
  refused_cheaply(file.path(), {"20001 layers"});
}

TEST_CASE("configurations that unfold to far more than they hold") {
  const TraceFile trace;
  const TempDir dir;
  const std::string path = dir.file("s.yaml"), head = "traces: ['" + trace.path() + "']\n";
  std::string laughs = head + "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n";
  for (int i = 1; i < 12; ++i) {
    laughs += concat("a", i, ": &a", i, " [");
    for (int k = 0; k < 10; ++k) laughs += concat(k ? ", " : "", "*a", i - 1);
    laughs += "]\n";
  }
  const std::string range = "{from: 0.01, to: 0.99, count: 200}";
  const std::string product = head + "policies: [{policy: double_p, p1: " + range +
                              ", p2: " + range + ", window: {from: 1, to: 200, step: 1}}]\n";
  const std::string circle = head + "policies: &x [*x]\n";
  for (const auto& [text, part] :
       {std::pair{laughs, "aliases unfold"}, {product, "8000000 runs"}, {circle, "alias"}}) {
    spill(path, text);
    refused_cheaply(path, {path, part});
  }
}

TEST_CASE("pipes and devices are no traces, and are not waited for") {
  const TempDir dir;
  const std::string fifo = dir.file("t.h5");
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  refused_cheaply(fifo, {fifo, "pipe"});
  refused_cheaply("/dev/zero", {"device"});
  refused_cheaply(dir.path() + "/" + std::string(5000, 'x') + ".h5", {"too long"});
}

TEST_CASE("numbers that make no sense") {
  for (double scale : {1e300, 1e-300, 1e4, 1e-7}) {
    const TraceFile file;
    file.set_real("softmax_scale", scale);
    expect_refusal(file, {"softmax_scale", "1/sqrt(head_dim)"});
  }
  const TraceFile keys, values, queries, below;
  keys.poke("layers/1/keys", 173, 1e38f);
  expect_refusal(keys, {"layers/1/keys[1, 1, 5]", "9.99999968e+37", "1e+15"});
  values.poke("layers/10/values", 0, -2e15f);
  expect_refusal(values, {"layers/10/values[0, 0, 0]", "-1.99999997e+15"});
  queries.poke("layers/1/queries", 0, 3e38f);
  expect_refusal(queries, {"layers/1/queries[0, 0, 0]"});
  below.poke("layers/1/keys", 0, 1e15f);
  CHECK(below.open().read_layer(1).keys[0] == 1e15f);
}

TEST_CASE("what a file says cannot steer the terminal") {
  const std::string evil =
      "\x1b]0;owned\x07\r\n\x1b[2J\xc2\x9b"
      "31m\x7f";
  const TraceFile format, name, model;
  format.set_string("format", evil);
  const std::string message = message_of([&] { format.open(); });
  CHECK(contains(message, "\\x1b]0;owned\\x07\\r\\n\\x1b[2J\\x9b31m\\x7f"));
  name.rename("layers/10", ("layers/" + evil).c_str());
  CHECK(contains(message_of([&] { name.open(); }), "\\x1b]0;owned"));
  model.set_string("model", evil + " caf\xc3\xa9");
  const TempDir dir;
  const ProgramResult result = run_program({"inspect", model.path()}, dir.path());
  CHECK(result.code == 0);
  CHECK(result.out.find('\x1b') == std::string::npos);
  CHECK(contains(result.out, "\\x1b]0;owned"));
  CHECK(contains(result.out, " caf\xc3\xa9"));
}

TEST_CASE("a missing filter and a locked file are named for what they are") {
  const TraceFile filter, locked;
  {
    const h5::Handle f = filter.writable();
    H5Ldelete(f.get(), "layers/1/keys", H5P_DEFAULT);
    const std::vector<hsize_t> extent = {2, 20, 8};
    const h5::Handle space(H5Screate_simple(3, extent.data(), nullptr), H5Sclose);
    const h5::Handle plist(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_chunk(plist.get(), 3, extent.data());
    const unsigned level = 3;  // Zstandard's number, which no stock HDF5 brings
    H5Pset_filter(plist.get(), 32015, H5Z_FLAG_OPTIONAL, 1, &level);
    const h5::Handle keys(H5Dcreate2(f.get(), "layers/1/keys", H5T_IEEE_F32LE, space.get(),
                                     H5P_DEFAULT, plist.get(), H5P_DEFAULT),
                          H5Dclose);
    const std::vector<float> data(320, 1.0f);
    REQUIRE(H5Dwrite(keys.get(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data.data()) >=
            0);
  }
  expect_refusal(filter, {"layers/1/keys", "32015", "HDF5_PLUGIN_PATH", "h5repack"});
  const int holder = ::open(locked.path().c_str(), O_RDONLY);
  REQUIRE(::flock(holder, LOCK_EX) == 0);
  expect_refusal(locked, {"locked by another program", "try again"});
  ::close(holder);
  CHECK(locked.open().info().name == "toy");
}
