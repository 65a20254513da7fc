// A decode step of a whole model: sums, limits, monotonicity, memory, what is marked.
#include "sim/decode/decode.h"

#include "tests/catch.h"
#include "tests/sim/machine.h"

using namespace doublep;
using namespace doublep::sim;
using namespace doublep::sim::test;

namespace {

double seconds(const Hardware& hardware, const DecodePoint& point, const Workload& workload) {
  return decode_step(simple_model(), {hardware, {}}, workload, point).seconds;
}

}  // namespace

TEST_CASE("A model's weights and cache", "[sim]") {
  const Model m = simple_model();
  // q, k, v, o: 1024 x (1024 + 512) + 1024 x 1024; gate, up, down: 3 x 1024 x 4096
  CHECK(m.stack_parameters() == 4 * (1024.0 * 1536 + 1024.0 * 1024 + 3.0 * 1024 * 4096));
  CHECK(m.active_parameters() == m.stack_parameters());
  CHECK(m.parameters() == m.stack_parameters() + 2.0 * 32000 * 1024);
  const auto kv_bytes = [&](Format format, int devices) {  // of one token in one layer
    DecodePoint point = simple_point(1, 1);
    point.kv.format = format, point.tensor_parallel = devices;
    return memory_use(m, dense_workload(), point).kv / m.layers;
  };
  CHECK(kv_bytes(Format::kBf16, 1) == 2 * 2 * 128 * 2);
  // One device's KV head; a key's and a value's scale of 4 bytes every 16 tokens.
  CHECK(kv_bytes(Format::kFp8, 2) == 2 * 1 * 128 * 1 + 2 * 4 / 16.0);
  // Four groups of 32 in a key and in a value, each with 4 bytes beside its 16 or 32.
  CHECK(kv_bytes(Format::kInt4, 1) == 2 * 2 * (64 + 4 * 4));
  CHECK(kv_bytes(Format::kInt8, 1) == 2 * 2 * (128 + 4 * 4));
}

TEST_CASE("A step is the sum of its parts, and dense attention reads the whole cache", "[sim]") {
  const Workload dense = dense_workload();
  const DecodeCost cost =
      decode_step(simple_model(), {simple_hardware(), {}}, dense, simple_point(16384, 3));
  double sum = 0;
  for (const Part& p : cost.parts) sum += p.seconds;
  CHECK(sum == Approx(cost.seconds));
  CHECK(part(cost, "attend") == Approx(cost.attention));
  CHECK(cost.bytes == Approx(4.0 * 3 * 16384 * 1024));  // layers, batch, tokens, bytes of a token
  CHECK(cost.exact_tokens == Approx(16384));
}

TEST_CASE("Infinite bandwidth and compute leave launches; none of these leave nothing", "[sim]") {
  Hardware h = simple_hardware();
  h.achieved_bandwidth->value = 1e40;
  for (auto& [type, rate] : h.compute) rate.value = 1e40;
  const DecodeCost cost = decode_step(simple_model(), {h, {}}, simple_workload(), simple_point());
  // per layer: 4 products, 5 small kernels, estimate, select, attend; then the last norm and the
  // head
  CHECK(cost.seconds == Approx((4 * 12 + 2) * 1e-6));
  CHECK(cost.bound == Bound::kLaunch);
  h.launch_overhead.value = 0;
  CHECK(seconds(h, simple_point(), simple_workload()) < 1e-15);
}

TEST_CASE("More work is never faster, more machine never slower", "[sim]") {
  const Workload workload = simple_workload(0.3);
  const Hardware h = simple_hardware();
  double last = 0;
  for (std::int64_t context : {1000, 4096, 5000, 9000, 16384, 50000, 1000000}) {
    const double now = seconds(h, simple_point(context), workload);
    CHECK(now >= last);
    last = now;
  }
  last = 0;
  for (int batch : {1, 2, 5, 16, 64, 200}) {
    const double now = seconds(h, simple_point(16384, batch), workload);
    CHECK(now > last);
    last = now;
  }
  const double base = seconds(h, simple_point(65536, 8), workload);
  for (auto factor : {&Scale::memory_bandwidth, &Scale::compute}) {
    Scale scale;
    scale.*factor = 2;
    CHECK(seconds(scaled(h, scale), simple_point(65536, 8), workload) <= base);
  }
  Scale slow;
  slow.launch_overhead = 3;
  CHECK(seconds(scaled(h, slow), simple_point(65536, 8), workload) > base);
  const Workload heavier("made",
                         {simple_profile(4096, 500, 65536), simple_profile(16384, 1000, 262144)});
  CHECK(seconds(h, simple_point(65536, 8), heavier) >
        seconds(h, simple_point(65536, 8), simple_workload()));
}

TEST_CASE("Tensor parallelism splits weights and heads and adds all-reduces", "[sim]") {
  DecodePoint point = simple_point(65536, 8);
  const Machine machine{simple_hardware(), {}};
  const DecodeCost one = decode_step(simple_model(), machine, dense_workload(), point);
  point.tensor_parallel = 2;
  const DecodeCost two = decode_step(simple_model(), machine, dense_workload(), point);
  CHECK(two.bytes == Approx(one.bytes / 2));
  CHECK(two.memory == Approx(one.memory / 2));
  CHECK(part(one, "all-reduce") == 0);
  const double rows = 8.0 * 1024 * 2;
  CHECK(part(two, "all-reduce") == Approx(2 * 4 * (5e-6 + rows / 400e9)));
  point.tensor_parallel = 3;
  CHECK_THROWS_AS(decode_step(simple_model(), machine, dense_workload(), point), InputError);
}

TEST_CASE("The largest batch is the largest that fits", "[sim]") {
  const Machine machine{simple_hardware(), {}};
  const Workload workload = simple_workload();
  DecodePoint point = simple_point(100000);
  const int most = largest_batch(simple_model(), machine, workload, point);
  REQUIRE(most > 1);
  point.batch = most;
  CHECK(decode_step(simple_model(), machine, workload, point).fits);
  point.batch = most + 1;
  CHECK_FALSE(decode_step(simple_model(), machine, workload, point).fits);
  point.batch = 1, point.place = KvPlace::kHost, point.cache_share = 0.1;
  CHECK(largest_batch(simple_model(), machine, workload, point) > most);
  Machine small = machine;
  small.hardware.memory_capacity.value = 1e6;
  CHECK(largest_batch(simple_model(), small, workload, point) == 0);
}

TEST_CASE("Offloading: a larger device cache is never slower, and hits come from the profile",
          "[sim]") {
  const Machine machine{simple_hardware(), {}};
  DecodePoint point = simple_point(16384, 4);
  point.place = KvPlace::kHost;
  double last = 1e9;
  for (double share : {0.005, 0.01, 0.05, 0.1, 1.0}) {
    point.cache_share = share;
    const DecodeCost cost = decode_step(simple_model(), machine, simple_workload(), point);
    CHECK(cost.seconds <= last);
    last = cost.seconds;
  }
  point.cache_share = 0.1;
  CHECK(decode_step(simple_model(), machine, simple_workload(), point).hit_rate == Approx(0.9));
}

TEST_CASE("Re-clustering is spread over the tokens between two of them", "[sim]") {
  const Machine machine{simple_hardware(), {}};
  DecodePoint point = simple_point(16384, 2);
  CHECK(part(decode_step(simple_model(), machine, simple_workload(), point), "re-clustering") == 0);
  point.recluster_every = 1000;
  const double build = build_seconds(simple_model(), machine, simple_workload(), 16384, 1);
  CHECK(build == Approx(4 * 2 * 1e9 / 1e15));  // layers, KV heads
  CHECK(part(decode_step(simple_model(), machine, simple_workload(), point), "re-clustering") ==
        Approx(2 * build / 1000));
}

TEST_CASE("What was not measured is marked", "[sim]") {
  Coverage coverage;
  coverage.calibrated = true, coverage.context_low = 8192, coverage.context_high = 131072;
  coverage.batch_high = 8, coverage.products = true;
  coverage.searches[static_cast<int>(Search::kHeads)] = true;
  Model model = simple_model();
  const auto bits = [&](std::int64_t context, int batch) {
    return extrapolations(model, simple_workload(), simple_point(context, batch), coverage);
  };
  CHECK(bits(16384, 8) == 0);
  CHECK(bits(65536, 8) == kTraceLength);
  CHECK(bits(4096, 8) == kTimedContext);
  CHECK(bits(16384, 9) == kTimedBatch);
  model.query_heads = 16;
  CHECK(bits(16384, 1) == kGroupSize);
  coverage.products = false;
  CHECK(bits(16384, 1) == (kGroupSize | kProducts));
  coverage.calibrated = false;
  CHECK(text_of(bits(65536, 1)) == "trace length, group size, machine");
}

TEST_CASE("Prefill is compute, causal attention included", "[sim]") {
  const Model m = simple_model();
  const Machine machine{simple_hardware(), {}};
  const double n = 20000;
  const double flops = 2 * n * m.stack_parameters() + 2 * n * n * 4 * m.query_heads * m.head_dim;
  CHECK(prefill_seconds(m, machine, 20000, 1) == Approx(flops / 1e15));
}
