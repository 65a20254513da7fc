// Traces written here are read back as they were, or not at all.
#include "core/trace/hdf5/trace_writer.h"

#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

#include "core/base/error.h"
#include "core/base/half.h"
#include "core/base/random.h"
#include "tests/catch.h"
#include "tests/support/temp_dir.h"

namespace doublep {
namespace {

namespace fs = std::filesystem;

TraceInfo small_info(const std::string& path) {
  TraceInfo info;
  info.path = path, info.model = "none", info.task = "test";
  info.num_query_heads = 4, info.num_kv_heads = 2, info.head_dim = 8, info.num_tokens = 20;
  info.softmax_scale = 0.25, info.seed = 7;
  info.positions = {16, 17, 19}, info.layers = {1, 5};
  return info;
}

TraceLayer random_layer(const TraceInfo& info, int index) {
  TraceLayer layer;
  layer.layer = index;
  const auto fill = [&](std::vector<float>& out, std::size_t n, int stream) {
    const CounterRng rng(3, index, stream);
    for (std::size_t i = 0; i < n; ++i) out.push_back(static_cast<float>(rng.normal(i)));
  };
  fill(layer.keys, info.num_kv_heads * info.num_tokens * info.head_dim, 0);
  fill(layer.values, layer.keys.size(), 1);
  fill(layer.queries, info.num_steps() * info.num_query_heads * info.head_dim, 2);
  return layer;
}

float rounded(float value, StoredType type) {
  if (type == StoredType::kFloat16) return half_to_float(float_to_half(value));
  if (type == StoredType::kBfloat16) return bfloat16_to_float(float_to_bfloat16(value));
  return value;
}

bool equal_after_rounding(const std::vector<float>& read, std::vector<float> written,
                          StoredType type) {
  for (float& value : written) value = rounded(value, type);
  return read == written;
}

TEST_CASE("a written trace is read back, rounded to its type", "[trace_writer]") {
  const test::TempDir folder;
  const auto type = GENERATE(StoredType::kFloat16, StoredType::kBfloat16, StoredType::kFloat32);
  const TraceInfo info = small_info(folder.file("a.h5"));
  TraceLayer first = random_layer(info, 1), second = random_layer(info, 5);
  first.outputs = first.queries;
  TraceWriter writer(info, type);
  writer.write_layer(second);
  writer.write_layer(first);
  CHECK_FALSE(fs::exists(info.path));
  writer.finish();
  CHECK_FALSE(fs::exists(info.path + ".partial"));

  const Trace trace = Trace::open(info.path);
  CHECK(trace.info().layers == info.layers);
  CHECK(trace.info().positions == info.positions);
  CHECK(trace.info().model == "none");
  CHECK(trace.info().task == "test");
  CHECK(trace.info().seed == 7);
  CHECK(trace.info().softmax_scale == 0.25);
  CHECK(trace.info().group_size() == 2);
  const TraceLayer read = trace.read_layer(1);
  CHECK(equal_after_rounding(read.keys, first.keys, type));
  CHECK(equal_after_rounding(read.values, first.values, type));
  CHECK(equal_after_rounding(read.queries, first.queries, type));
  CHECK(read.outputs == first.outputs);  // always float32
  CHECK(trace.read_layer(5).outputs.empty());
  CHECK(equal_after_rounding(trace.read_layer(5).keys, second.keys, type));
}

TEST_CASE("runs of tokens make the same file as whole layers", "[trace_writer]") {
  const test::TempDir folder;
  TraceInfo whole = small_info(folder.file("whole.h5")), runs = small_info(folder.file("runs.h5"));
  whole.layers = runs.layers = {1};
  const TraceLayer layer = random_layer(whole, 1);
  TraceWriter a(whole, StoredType::kFloat16), b(runs, StoredType::kFloat16);
  a.write_layer(layer);
  a.finish();
  b.begin_layer(1);
  for (int h = 0; h < 2; ++h)
    for (std::int64_t first = 0; first < 20; first += 6) {
      const std::int64_t count = std::min<std::int64_t>(6, 20 - first), at = (h * 20 + first) * 8;
      b.write_values(h, first, count, layer.values.data() + at);
      b.write_keys(h, first, count, layer.keys.data() + at);
    }
  b.write_queries(layer.queries.data());
  b.finish();
  const TraceLayer x = Trace::open(whole.path).read_layer(1),
                   y = Trace::open(runs.path).read_layer(1);
  CHECK(x.keys == y.keys);
  CHECK(x.values == y.values);
  CHECK(x.queries == y.queries);
}

TEST_CASE("an unfinished or refused trace leaves nothing behind", "[trace_writer]") {
  const test::TempDir folder;
  TraceInfo info = small_info(folder.file("a.h5"));
  SECTION("the writer goes away") {
    TraceWriter writer(info, StoredType::kFloat32);
    writer.write_layer(random_layer(info, 1));
  }
  SECTION("a value that float16 cannot hold") {
    TraceLayer layer = random_layer(info, 1);
    layer.values[13] = 70000;
    TraceWriter writer(info, StoredType::kFloat16);
    CHECK_THROWS_AS(writer.write_layer(layer), InputError);
  }
  SECTION("NaN and infinity, in every type") {
    const auto type = GENERATE(StoredType::kFloat16, StoredType::kBfloat16, StoredType::kFloat32);
    TraceLayer layer = random_layer(info, 1);
    layer.keys[5] =
        GENERATE(std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity());
    TraceWriter writer(info, type);
    CHECK_THROWS_AS(writer.write_layer(layer), InputError);
  }
  SECTION("attributes that the reader would refuse") {
    const auto break_it = GENERATE(0, 1, 2, 3, 4);
    if (break_it == 0) info.num_kv_heads = 3;
    if (break_it == 1) info.positions = {16, 16};
    if (break_it == 2) info.positions = {20};
    if (break_it == 3) info.layers.clear();
    if (break_it == 4) info.softmax_scale = 0;
    CHECK_THROWS_AS(TraceWriter(info, StoredType::kFloat32), InputError);
  }
  SECTION("a folder that does not exist") {
    info.path = folder.file("missing/a.h5");
    CHECK_THROWS_AS(TraceWriter(info, StoredType::kFloat32), InputError);
  }
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("a full disk is one error, and the earlier file stays", "[trace_writer]") {
  const test::TempDir folder;
  TraceInfo info = small_info(folder.file("a.h5"));
  info.num_tokens = 20000, info.layers = {1};
  std::ofstream(info.path) << "earlier";
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit small = before;
  small.rlim_cur = 100000;  // bytes a file may have: writes beyond fail as on a full disk
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  std::string message;
  try {
    TraceWriter writer(info, StoredType::kFloat32);
    writer.write_layer(random_layer(info, 1));
    writer.finish();
  } catch (const InputError& e) {
    message = e.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(message.find("disk full") != std::string::npos);
  CHECK(message.find('\n') == std::string::npos);
  CHECK_FALSE(fs::exists(info.path + ".partial"));
  std::string text;
  std::ifstream(info.path) >> text;
  CHECK(text == "earlier");
}

}  // namespace
}  // namespace doublep
