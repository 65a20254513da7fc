// Does the reader refuse what is no trace, with one line that names file, place and remedy?
#include <fstream>
#include <iterator>

#include "tests/support/refusal.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

TEST_CASE("the sound trace of these tests opens") {
  const TraceFile file;
  const Trace trace = file.open();
  CHECK(trace.info().name == "toy");
  CHECK(trace.info().layers == std::vector<int>{1, 10});
  CHECK(trace.info().positions == std::vector<std::int64_t>{16, 17, 19});
  CHECK(trace.info().group_size() == 2);
  CHECK(trace.read_layer(10).keys.size() == 2 * 20 * 8);
  CHECK(trace.read_layer(1).outputs.empty());
  const auto message = message_of([&] { trace.read_layer(4); });
  CHECK(contains(message, file.path()));
  CHECK(contains(message, "1, 10"));
}

TEST_CASE("what is not there or not HDF5") {
  const TempDir dir;
  expect_refusal(dir.file("none.h5"), {"check the path"});
  expect_refusal(dir.path(), {"folder without trace.yaml", "TRACE_FORMAT.md"});
  std::ofstream(dir.file("text.h5")) << "keys: 1 2 3\n";
  expect_refusal(dir.file("text.h5"), {"another format", "record the file again"});
  std::ofstream(dir.file("empty.h5")).flush();
  expect_refusal(dir.file("empty.h5"), {"cannot be opened as HDF5"});
}

TEST_CASE("a trace cut at any length") {
  std::ifstream in(needle_4k(), std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  REQUIRE(bytes.size() > 8000000);
  const TempDir dir;
  for (std::size_t length : {std::size_t{1}, std::size_t{7}, std::size_t{100}, std::size_t{2048},
                             bytes.size() / 3, bytes.size() - 4096, bytes.size() - 1}) {
    const std::string path = dir.file(std::to_string(length) + ".h5");
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(length));
    expect_refusal(path, {"truncated"});
  }
}

TEST_CASE("every required attribute is missed by name") {
  for (const char* name : {"format", "version", "num_query_heads", "num_kv_heads", "head_dim",
                           "num_tokens", "softmax_scale"}) {
    const TraceFile file;
    file.remove_attribute(name);
    expect_refusal(file, {std::string("attribute ") + name, "missing"});
  }
}

TEST_CASE("attributes that describe, and unknown ones, are not required") {
  const TraceFile file;
  for (const char* name : {"model", "task", "seed", "rope_applied"}) file.remove_attribute(name);
  file.set_string("recorder", "of another project");
  file.set_real("temperature", 0.7);
  file.make_group("notes");
  CHECK(file.open().info().rope_applied);
}

TEST_CASE("another format, another version, unrotated keys") {
  const TraceFile format, version, zero, rope;
  format.set_string("format", "kv-cache");
  expect_refusal(format, {"attribute format", "'kv-cache'", "'kv-trace'"});
  version.set_int("version", 2);
  expect_refusal(version, {"version 2", "reads version 1"});
  zero.set_int("version", 0);
  expect_refusal(zero, {"version", "0"});
  rope.set_int("rope_applied", 0);
  expect_refusal(rope, {"rope_applied", "record"});
}

TEST_CASE("attributes of the wrong kind") {
  const TraceFile text, number, real;
  text.set_string("num_tokens", "20");
  expect_refusal(text, {"attribute num_tokens", "number"});
  number.set_int("format", 1);
  expect_refusal(number, {"attribute format", "string"});
  real.set_real("head_dim", 8.5);
  expect_refusal(real, {"attribute head_dim", "integer"});
}

TEST_CASE("counts out of range") {
  for (const char* name : {"num_query_heads", "num_kv_heads", "head_dim", "num_tokens"})
    for (std::int64_t value : {std::int64_t{0}, std::int64_t{-4}}) {
      const TraceFile file;
      file.set_int(name, value);
      expect_refusal(file, {std::string("attribute ") + name, std::to_string(value), "at least 1"});
    }
  // 2^32 + 4 is 4 in 32 bits, and 4 would fit the datasets.
  const TraceFile wrapped;
  wrapped.set_int("num_query_heads", (std::int64_t{1} << 32) + 4);
  expect_refusal(wrapped, {"num_query_heads", "4294967300"});
}

TEST_CASE("a head count that is no multiple") {
  const TraceFile file;
  file.set_int("num_query_heads", 3);
  expect_refusal(file, {"num_query_heads (3)", "num_kv_heads (2)"});
}

TEST_CASE("a scale that is no positive number") {
  for (double scale : {0.0, -0.5, static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    const TraceFile file;
    file.set_real("softmax_scale", scale);
    expect_refusal(file, {"softmax_scale", "positive"});
  }
}
