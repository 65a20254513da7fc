// Values of another width than keys (MLA): does everything between a file and a row know which is
// meant where?
#include <numeric>

#include "core/trace/hdf5/trace_writer.h"
#include "tests/support/brute_force.h"
#include "tests/support/message.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::test;

namespace {

constexpr CacheShape kLatent{1, 4, 300, 24, 3, 16}, kWide{2, 2, 300, 16, 3, 40};

TraceInfo info_of(const CacheShape& s, const std::string& path) {
  TraceInfo info;
  info.path = path, info.model = "latent", info.task = "test";
  info.num_query_heads = s.kv_heads * s.group, info.num_kv_heads = s.kv_heads;
  info.head_dim = s.head_dim, info.value_dim = s.value_dim, info.num_tokens = s.tokens;
  info.softmax_scale = 1 / std::sqrt(static_cast<double>(s.head_dim));
  info.positions = {s.tokens - 3, s.tokens - 2, s.tokens - 1}, info.layers = {0};
  return info;
}

// A trace of the cache, with dense attention in long double as its outputs.
void write(const RandomCache& data, const std::string& path) {
  const TraceInfo info = info_of(data.shape, path);
  TraceLayer layer;
  layer.keys = data.keys, layer.values = data.values, layer.queries = data.queries;
  for (std::int64_t t = 0; t < 3; ++t)
    for (int h = 0; h < info.num_query_heads; ++h) {
      const int kv = h / data.shape.group;
      const KvHead cache = data.view().first(info.positions[t] + 1).head(kv);
      Selection all;
      all.tokens.resize(static_cast<std::size_t>(cache.length));
      std::iota(all.tokens.begin(), all.tokens.end(), 0);
      const auto o = brute_attend(cache, data.group(kv, t), h % data.shape.group, all).output;
      layer.outputs.insert(layer.outputs.end(), o.begin(), o.end());
    }
  TraceWriter writer(info, StoredType::kFloat32);
  writer.write_layer(layer);
  writer.finish();
}

}  // namespace

TEST_CASE("every policy attends values of another width as its selection says") {
  for (const CacheShape& shape : {kLatent, kWide}) {
    const RandomCache data(shape);
    for (const PolicyInfo& info : PolicyRegistry::instance().all()) {
      CAPTURE(info.name, shape.value_dim);
      Given given;
      const ParamSpecs& has = info.parameters;
      for (const ParamSpec& spec : has) {
        if (spec.name == "value_side") given["value_side"] = std::string("shifted");
        if (spec.name == "outside") given["outside"] = std::string("estimate");
      }
      const auto decoder = make_decoder(info.name, given);
      decoder->prefill(data.view().first(shape.tokens - 2));
      decoder->append(data.view());
      const StepResult result = decoder->step(data.block(2), Detail::kSelections);
      REQUIRE(result.output.size() ==
              static_cast<std::size_t>(shape.kv_heads * shape.group * shape.value_dim));
      for (int h = 0; h < shape.kv_heads * shape.group; ++h) {
        const int kv = h / shape.group;
        const auto expected =
            brute_attend(data.head(kv), data.group(kv, 2), h % shape.group, result.selections[h]);
        CHECK(relative_distance(result.output.data() + h * shape.value_dim, expected.output) <
              2e-5);
      }
    }
  }
}

TEST_CASE("a latent trace is written, read back and replayed without error") {
  const TempDir dir;
  const RandomCache data(kLatent);
  const std::string path = dir.file("latent.h5");
  write(data, path);
  const Trace trace = Trace::open(path);
  CHECK(trace.info().head_dim == 24);
  CHECK(trace.info().value_dim == 16);
  CHECK(trace.read_layer(0).values == data.values);
  const ReplayResult dense = replay_policy(trace, "dense");
  CHECK(dense.layers.at(0).dense_mismatch < 1e-6);
  for (const Row& row : dense.rows) {
    CHECK(row.output_error < 1e-5);
    // bf16 keys and values of every visible token, shared by the four heads.
    CHECK(row.bytes[static_cast<int>(Stage::kAttend)] ==
          static_cast<double>(row.visible_tokens) * (24 + 16) * 2 / 4);
    CHECK(row.flops[static_cast<int>(Stage::kAttend)] ==
          static_cast<double>(row.visible_tokens) * (2 * 24 + 2 * 16 + 1));
  }
}

TEST_CASE("the index of a latent cache counts vectors of both widths") {
  const RandomCache data(kLatent);
  ClusteringOptions options;
  options.clusters = 10;
  options.moments.value_map = true;
  const ClusterIndex index = ClusterIndex::build(data.head(), 0, 300, options);
  CHECK(index.mean_values().cols() == 16);
  CHECK(index.centroids().cols() == 24);
  CHECK(index.value_map().rows() == 16);
  CHECK(index.value_map().cols() == 24);
  CHECK(index.memory_bytes(KvDtype::kFp16) == 10 * ((24 + 16) * 2 + 12) + 4 * 300 + 16 * 24 * 2);
}
