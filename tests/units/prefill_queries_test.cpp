// Do the prompt's last queries travel from the file to every KV head's policy, and are wrong ones
// refused?
#include "core/decoder/reference_decoder.h"
#include "core/trace/hdf5/trace_writer.h"
#include "tests/support/refusal.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// Remembers what it was shown.
struct Seen {
  std::vector<float> queries;  // [P, group, d]
};
std::map<int, Seen> seen_by_head;

class Listener final : public Policy {
 public:
  Listener(const Parameters&, const PolicyContext& context) : kv_head_(context.kv_head) {}
  void prefill(const KvHead& cache) override {
    Seen& mine = seen_by_head.at(kv_head_);
    const PrefillQueries& p = cache.prefill_queries;
    for (std::int64_t i = 0; i < p.count; ++i)
      for (int h = 0; h < p.heads; ++h)
        mine.queries.insert(mine.queries.end(), p.query(i, h), p.query(i, h) + p.head_dim);
  }
  void select(const KvHead&, const QueryGroup&, GroupSelection&) override {}

 private:
  int kv_head_;
};

std::vector<float> numbered(std::int64_t n) {
  std::vector<float> values(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) values[i] = static_cast<float>(i);
  return values;
}

}  // namespace

TEST_CASE("prefill queries reach each KV head's policy, of its own group") {
  const TraceFile file;  // 4 query heads of 8 on 2 KV heads
  const std::vector<float> stored = numbered(5 * 4 * 8);
  file.replace("layers/1/prefill_queries", {5, 4, 8}, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT,
               stored.data());
  const Trace trace = file.open();
  const TraceLayer data = trace.read_layer(1), without = trace.read_layer(10);
  CHECK(data.prefill_queries == stored);
  CHECK(trace.cache(without).prefill_queries.count == 0);
  CHECK(trace.cache(without).head(1).prefill_queries.count == 0);

  const PolicyInfo info = describe<Listener>("listener", "listens", "a test", {});
  ReferenceDecoder decoder(info, resolve(info, {}), {});
  seen_by_head = {{0, {}}, {1, {}}};
  decoder.prefill(trace.cache(data).first(17));
  for (int kv = 0; kv < 2; ++kv) {
    std::vector<float> expected;
    for (int p = 0; p < 5; ++p)
      for (int i = 0; i < 2 * 8; ++i)
        expected.push_back(static_cast<float>((p * 4 + kv * 2) * 8 + i));
    CHECK(seen_by_head[kv].queries == expected);
  }
}

TEST_CASE("prefill queries of a wrong shape, of too many positions, or not finite are refused") {
  std::vector<float> values = numbered(20 * 4 * 8);
  const auto refused = [&](const std::vector<std::int64_t>& shape,
                           std::initializer_list<std::string> parts) {
    const TraceFile file;
    file.replace("layers/10/prefill_queries", shape, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT,
                 values.data());
    expect_refusal(file, parts);
  };
  refused({5, 2, 8}, {"layers/10/prefill_queries", "[5, 2, 8]", "expected [any, 4, 8]"});
  refused({5, 4}, {"layers/10/prefill_queries", "[5, 4]"});
  refused({17, 4, 8}, {"layers/10/prefill_queries", "17 positions", "only 16"});
  refused({0, 4, 8}, {"layers/10/prefill_queries", "[0, 4, 8]"});
  values[37] = NAN;
  refused({16, 4, 8}, {"layers/10/prefill_queries[1, 0, 5]", "finite"});
}

TEST_CASE("the recorded prefill queries of a real model are read") {
  const std::string path = shared_trace("qwen-needle-8k");
  if (path.empty()) return skip("no ../shared/traces/qwen-needle-8k.h5");
  const Trace trace = Trace::open(path);
  const TraceLayer data = trace.read_layer(9);
  const PrefillQueries group = trace.cache(data).head(1).prefill_queries;
  CHECK(group.count == 256);
  CHECK(group.heads == 6);
  CHECK(group.head_dim == 128);
  CHECK(group.query(255, 5) + 128 == data.prefill_queries.data() + data.prefill_queries.size());
}
