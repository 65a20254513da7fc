// How often a trace is read from the disk: once, however many runs and layers want it.
#include <filesystem>

#include "core/trace/source.h"
#include "experiments/config/sweep.h"
#include "experiments/results/image.h"
#include "experiments/run/runner.h"
#include "tests/catch.h"
#include "tests/support/address_limit.h"
#include "tests/support/message.h"
#include "tests/support/program.h"
#include "tests/support/run_policy.h"
#include "tests/support/tensor_folder.h"
#include "tests/support/trace_file.h"

using namespace doublep;
using namespace doublep::test;
namespace fs = std::filesystem;

namespace {

// Bytes that this process has asked of read() and its like.
double bytes_read() {
  std::ifstream io("/proc/self/io");
  std::string name;
  double bytes = -1;
  io >> name >> bytes;
  REQUIRE(name == "rchar:");
  return bytes;
}

// Everything of a trace, as three runs would have it: opened, its layers read and the check after.
double reads_of(const std::string& path, std::int64_t most_held) {
  const double before = bytes_read();
  const Trace trace = Trace::open(path, most_held);
  for (int run = 0; run < 3; ++run) {
    for (int layer : trace.info().layers) trace.read_layer(layer);
    trace.require_unchanged();
  }
  return bytes_read() - before;
}

std::int64_t size_of(const std::string& path) {
  std::int64_t bytes = 0;
  for (const std::string& file : trace_files(path))
    bytes += static_cast<std::int64_t>(fs::file_size(file));
  return bytes;
}

// Dated as long ago as a trace usually was written: see FileStamp::settled.
void wait_until_settled(const std::string& path) {
  for (const std::string& file : trace_files(path))
    while (!FileStamp::of(file).settled())
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
}

}  // namespace

TEST_CASE("hash, checks and layers of a trace come from one read of its bytes") {
  TensorFolder folder(TensorFolder::kSafetensors);
  for (auto& [name, t] : folder.tensors()) {  // so that its bytes stand out of its description's
    if (name.find("queries") != std::string::npos) continue;
    t.shape[1] = 20000, t.bytes = std::string(2 * 20000 * 8 * 4, '\0');
  }
  folder.write();
  folder.describe("", "0.25");
  for (const std::string& path : {needle_4k(), folder.path()}) {
    CAPTURE(path);
    wait_until_settled(path);
    const auto size = static_cast<double>(size_of(path));
    CHECK(reads_of(path, size_of(path)) < 1.1 * size);
    CHECK(reads_of(path, size_of(path) - 1) > 5 * size);  // it does not fit, and is read anew
  }
}

TEST_CASE("a trace in memory and one read again and again are the same trace") {
  const TensorFolder folder(TensorFolder::kNpy, "F16");
  for (const std::string& path : {needle_4k(), folder.path()}) {
    const Trace held = Trace::open(path), read = Trace::open(path, 0);
    CHECK(held.held_bytes() == size_of(path));
    CHECK(read.held_bytes() == 0);
    CHECK(held.content_hash() == read.content_hash());
    for (int layer : held.info().layers) {
      const TraceLayer a = held.read_layer(layer), b = read.read_layer(layer);
      CHECK(a.keys == b.keys);
      CHECK(a.values == b.values);
      CHECK(a.queries == b.queries);
      CHECK(a.outputs == b.outputs);
    }
  }
}

// More than core/base/file.cpp wants for the work beside a file, and less than that and needle-4k.
constexpr std::size_t kWorkOnly = std::size_t{260} << 20;

TEST_CASE("where memory has a limit, a trace that leaves no room for work is read from the disk") {
  if (kSanitized) return skip("a sanitizer takes the whole address space");
  const Trace held = Trace::open(needle_4k());
  for (const auto& [room, most] : {std::pair{kWorkOnly, std::int64_t{0}},
                                   {2 * kWorkOnly, static_cast<std::int64_t>(held.held_bytes())}}) {
    const AddressLimit limit(room);
    const Trace trace = Trace::open(needle_4k());
    CHECK(trace.held_bytes() == most);
    CHECK(trace.content_hash() == held.content_hash());
    CHECK(trace.read_layer(7).keys == held.read_layer(7).keys);
    CHECK_NOTHROW(trace.require_unchanged());
  }
}

TEST_CASE("a trace in memory that changes on the disk is noticed by its times, and still itself") {
  const TraceFile file;
  wait_until_settled(file.path());
  const Trace trace = file.open();
  const std::vector<float> keys = trace.read_layer(1).keys;
  const auto written = fs::last_write_time(file.path());
  std::string bytes = slurp(file.path());
  bytes[bytes.size() - 40] = static_cast<char>(bytes[bytes.size() - 40] ^ 1);  // of some value
  spill(file.path(), bytes);
  fs::last_write_time(file.path(), written);  // as rsync --times would leave it
  CHECK(contains(message_of([&] { trace.require_unchanged(); }), "changed while"));
  CHECK(trace.read_layer(1).keys == keys);
  CHECK(trace.content_hash() != file.open().content_hash());
}

TEST_CASE("a sweep reads its trace once, and its runs are those of one that does not hold it") {
  const TempDir dir;
  const std::string sweep = dir.file("s.yaml");
  spill(sweep, "traces: ['" + needle_4k() + "']\nreplay: {max_steps: 1}\n" +
                   "policies: [dense, streaming, quest]\n");
  wait_until_settled(needle_4k());
  const auto reads = [&](const char* output, std::int64_t mebibytes) {
    RunnerOptions options;
    options.truth_mebibytes = mebibytes;
    Sweep to = load_sweep(sweep);
    to.output = dir.file(output);
    const double before = bytes_read();
    const RunnerReport report = run_sweep(to, options);
    CHECK(report.total - report.reused == 3);
    return (bytes_read() - before) / static_cast<double>(fs::file_size(needle_4k()));
  };
  program_hash();  // reads this program, once, whichever test comes first
  // Of the trace each layer once for all three runs, beside a reading for the hash, one for the
  // checks and one for the hash again.
  CHECK(reads("read.h5", 0) < 5);
  CHECK(reads("held.h5", 64) < 1.2);
  const auto rows = [&](const char* output) {
    return run_program({"export", dir.file(output)}, dir.path()).out;
  };
  CHECK(rows("held.h5") == rows("read.h5"));
  if (kSanitized) return;
  {
    const AddressLimit limit(kWorkOnly);
    CHECK(reads("tight.h5", 64) > 6);
  }
  CHECK(rows("tight.h5") == rows("read.h5"));
}

TEST_CASE("a sweep whose layers do not fit is continued piece by piece") {
  const TempDir dir;
  spill(dir.file("s.yaml"), "traces: ['" + needle_4k() + "']\nreplay: {max_steps: 3}\n" +
                                "policies: [dense, streaming, quest, double_p]\n");
  const auto run = [&](const char* output, const char* mebibytes, const ProgramOptions& how = {}) {
    return run_program(
        {"run", dir.file("s.yaml"), "-o", dir.file(output), "--truth-memory", mebibytes},
        dir.path(), how);
  };
  const auto files = [&] {
    const fs::path parts = dir.file("pieces.h5.parts");
    if (!fs::exists(parts)) return std::ptrdiff_t{0};
    return std::distance(fs::directory_iterator(parts), fs::directory_iterator());
  };
  ProgramOptions stop;
  stop.interrupt_when = [&] { return files() > 3; };  // the lock, a piece and its checksum, another
  CHECK(run("pieces.h5", "0", stop).code == 130);
  CHECK(files() > 3);
  const auto rest = run("pieces.h5", "0");
  REQUIRE(rest.code == 0);
  CHECK(contains(rest.err, "KV head 1"));
  CHECK(contains(rest.out, "4 runs (0 were there already)"));
  CHECK(files() == 0);
  REQUIRE(run("whole.h5", "64").code == 0);
  const auto rows = [&](const char* output) {
    return run_program({"export", dir.file(output)}, dir.path()).out;
  };
  CHECK(rows("pieces.h5") == rows("whole.h5"));
}

TEST_CASE("validate holds one layer at a time, however large the trace") {
  const TensorFolder folder(TensorFolder::kNpy);
  {
    const std::int64_t tokens = 40000;
    const std::string rows = npy({{2, tokens, 8}, "F32", std::string(2 * tokens * 8 * 4, '\0')});
    for (int layer = 1; layer <= 32; ++layer)
      for (const char* name : {"keys", "values"})
        folder.spill(folder.name(std::to_string(layer), name), rows);
    const std::string queries = npy({{3, 4, 8}, "F32", std::string(3 * 4 * 8 * 4, '\0')});
    for (int layer = 1; layer <= 32; ++layer)
      folder.spill(folder.name(std::to_string(layer), "queries"), queries);
  }
  folder.describe("");
  const TempDir dir;
  spill(dir.file("s.yaml"), "traces: ['" + folder.path() + "']\npolicies: [dense]\n");
  const auto all = size_of(folder.path()) / 1024;
  REQUIRE(all > 160000);  // the peak is not below this process's own, which is forked
  for (const std::string& path : {folder.path(), folder.file("trace.yaml"), dir.file("s.yaml")}) {
    const ProgramResult result = run_program({"validate", path}, dir.path());
    CAPTURE(path, result.err, result.peak_kilobytes, all);
    CHECK(result.code == 0);
    CHECK(contains(result.out, "40000 tokens, 3 steps, 32 layers"));
    if (!kSanitized) CHECK(result.peak_kilobytes < all * 3 / 4);
  }
}
