// Layers by parts, as many KV heads at a time as fit: the same values, and the same rows.
#include "tests/catch.h"
#include "tests/support/run_policy.h"
#include "tests/support/same_rows.h"
#include "tests/support/tensor_folder.h"
#include "tests/support/trace_file.h"

using namespace doublep;
using namespace doublep::test;

TEST_CASE("a part of a layer holds its KV heads, of a file and of a folder") {
  const TraceFile file;
  const TensorFolder folder(TensorFolder::kSafetensors, "F16");
  for (const Trace& trace :
       {file.open(), Trace::open(folder.path()), Trace::open(folder.path(), 0)}) {
    const TraceLayer whole = trace.read_layer(1), second = trace.read_layer({1, 1, 1});
    const auto half = static_cast<std::ptrdiff_t>(whole.keys.size() / 2);
    CHECK(second.kv_heads == 1);
    CHECK(second.keys == std::vector<float>(whole.keys.begin() + half, whole.keys.end()));
    CHECK(second.values == std::vector<float>(whole.values.begin() + half, whole.values.end()));
    CHECK(second.queries == whole.queries);
    const QueryBlock queries = trace.queries(second, 1), all = trace.queries(whole, 1);
    CHECK(queries.num_query_heads == all.num_query_heads / 2);
    CHECK(queries.queries[0] ==
          all.queries[queries.num_query_heads * static_cast<std::int64_t>(all.head_dim)]);
    CHECK(trace.cache(second).head(0).keys[5] == trace.cache(whole).head(1).keys[5]);
  }
}

TEST_CASE("rows are the same in parts: policies that draw know their KV head") {
  const Trace trace = Trace::open(needle_4k());
  ReplayOptions options;
  options.max_steps = 2;
  const auto heads = parts_of(trace, options, 1);
  REQUIRE(heads.size() == trace.info().layers.size() * trace.info().num_kv_heads);
  CHECK(parts_of(trace, options).size() == trace.info().layers.size());
  for (const auto& [policy, given] : std::vector<std::pair<std::string, Given>>{
           {"vattention", {}},
           {"double_p", {{"variant", std::string("best")}, {"audit", std::int64_t{64}}}},
           {"quest", {}}}) {
    CAPTURE(policy);
    const ReplayResult whole = replay_policy(trace, policy, given, options);
    const ReplayResult parts = replay_policy(trace, policy, given, options, heads);
    CHECK(same_rows(whole, parts));
    REQUIRE(parts.layers.size() == whole.layers.size());
    for (std::size_t l = 0; l < whole.layers.size(); ++l) {
      CHECK(parts.layers[l].layer == whole.layers[l].layer);
      CHECK(parts.layers[l].index_memory_bytes == whole.layers[l].index_memory_bytes);
      CHECK(parts.layers[l].index_build_flops ==
            Approx(whole.layers[l].index_build_flops).epsilon(1e-12));
      CHECK(parts.layers[l].dense_mismatch == whole.layers[l].dense_mismatch);
    }
  }
}
