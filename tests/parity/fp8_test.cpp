// A cache in E4M3 on the device: the same numbers as core's, attended alike, counted alike; and who
// has no kernel for it.
#include <cuda_fp8.h>

#include "core/base/e4m3.h"
#include "core/cache/packed_head.h"
#include "core/index/cluster_index.h"
#include "experiments/bench/subject.h"
#include "tests/parity/support.h"
#include "tests/support/message.h"
#include "tests/support/paths.h"

namespace doublep::test {
namespace {

constexpr KvDtype kFp8 = KvDtype::kFp8;

/// Core's packed head, in the blocks of the clusters that the device made.
PackedHead packed_as(const Case& c, const StepResult& result, int kv) {
  PackedHead packed;
  packed.extend(c.cache().head(kv));
  const auto& index = result.selections[kv * c.group].index;
  if (!index) packed.pack_in_order();
  for (std::int64_t i = 0; index && i < index->num_clusters(); ++i) packed.pack(index->members(i));
  return packed;
}

/// Output and bytes of a step against the reference's attend over the same selections.
void check_step(const Case& c, const StepResult& result, double most) {
  for (int kv = 0; kv < c.kv_heads; ++kv) {
    INFO("KV head " << kv << ", " << c.text());
    const PackedHead packed = packed_as(c, result, kv);
    const QueryGroup group = c.block().group(kv, c.kv_heads);
    GroupSelection chosen(c.group);
    std::copy_n(result.selections.begin() + kv * c.group, c.group, chosen.heads.begin());
    std::vector<float> output(static_cast<std::size_t>(c.group) * c.head_dim);
    std::vector<double> log_sum_exp(c.group);
    attend(packed.stored(c.cache().head(kv)), group, chosen.heads, output.data(),
           log_sum_exp.data());
    charge_attend(group, c.head_dim, kFp8, chosen, &packed);
    for (int g = 0; g < c.group; ++g) {
      const std::size_t at = static_cast<std::size_t>(kv) * c.group + g;
      CHECK(distance(result.output.data() + at * c.head_dim, output.data() + g * c.head_dim,
                     c.head_dim) < most);
      CHECK(result.log_sum_exp[at] == Approx(log_sum_exp[g]).margin(1e-3));
      CHECK(result.cost[at][Stage::kAttend].bytes == Approx(chosen.cost[g][Stage::kAttend].bytes));
    }
  }
}

Case case_of(int dim, int group, std::int64_t length, Kind kind = Kind::kPlain) {
  Case c;
  c.kind = kind, c.head_dim = dim, c.group = group, c.length = length;
  c.capacity = std::max<std::int64_t>(length + 100, 300);
  c.fill();
  c.ask(20);
  return c;
}

void check_packed(const Case& c, const Setup& setup) {
  const auto decoder = on_gpu(setup, kFp8);
  decoder->prefill(c.cache());
  INFO(resolve(PolicyRegistry::instance().find(setup.policy), setup.given).to_json());
  check_step(
      c, decoder->step(c.block(), Detail::kSelections),
      setup.policy == "dense" ? tolerance(KvDtype::kBf16).exact : tolerance(KvDtype::kBf16).terms);
}

}  // namespace

TEST_CASE("core rounds to E4M3 as CUDA does", "[plan]") {
  const CounterRng rng(5);
  int apart = 0;
  for (int i = 0; i < 100000; ++i) {
    const auto x =
        static_cast<float>(rng.normal(2 * i) * std::exp2(26 * rng.uniform(2 * i + 1) - 15));
    apart += float_to_e4m3(x) != __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
  }
  for (int code = 0; code < 256; ++code) {
    if ((code & 0x7F) == 0x7F) continue;
    const auto half =
        __half(__nv_cvt_fp8_to_halfraw(static_cast<__nv_fp8_storage_t>(code), __NV_E4M3));
    apart += static_cast<float>(half) != e4m3_to_float(static_cast<std::uint8_t>(code));
  }
  CHECK(apart == 0);
}

TEST_CASE("fp8 is refused by name where no kernel reads it, and in a setting", "[plan]") {
  const auto refused = [](const std::string& name) {
    const PolicyInfo& policy = PolicyRegistry::instance().find(name);
    return cuda::refusal(name, resolve(policy, {}), {32, 8, 128, kFp8});
  };
  CHECK(refused("dense").empty());
  CHECK(refused("double_p").empty());
  for (const char* policy : {"streaming", "quest", "twilight", "retroinfer", "cluster_top_p"}) {
    INFO(policy);
    CHECK(contains(refused(policy), "missing kv_dtype fp8"));
  }
  const cuda::Request request = bench::request_of({needle_4k()}, 2);
  const auto settings = bench::parse_settings(
      bench::with_fp8({"dense", "quest:budget=64", "double_p:p2=0.5"}), {}, request);
  REQUIRE(settings.size() == 5);
  CHECK(settings[1].label == "dense:kv_dtype=fp8");
  CHECK(settings[1].plan.fp8);
  CHECK(!settings[1].is_truth());
  CHECK(settings[0].is_truth());
  CHECK(settings[4].label == "double_p:p2=0.5,kv_dtype=fp8");
  CHECK(bench::index_key(settings[3].plan) != bench::index_key(settings[4].plan));
  CHECK(bench::in_order(settings)[0] == 0);
  for (const auto& [text, says] :
       {std::pair{"dense:kv_dtype=fp16", "kv_dtype fp16: expected bf16 or fp8"},
        std::pair{"dense:kv_dtype=int4", "expected fp32, fp16, bf16 or fp8"},
        std::pair{"quest:kv_dtype=fp8", "missing kv_dtype fp8"},
        std::pair{"dense:kv_dtype=fp8,kv_dtype=bf16", "kv_dtype is there twice"}})
    CHECK(contains(message_of([&] { bench::parse_settings({text}, {}, request); }), says));
}

TEST_CASE("fp8: dense attends what core stores", "[parity][quick]") {
  if (without_device()) return;
  for (const int dim : {64, 80, 128, 256})
    for (const int group : {1, 6, 8}) check_packed(case_of(dim, group, 700), {"dense", {}});
  for (const std::int64_t length : {1, 15, 63, 64, 65, 128, 3001})
    check_packed(case_of(128, 4, length), {"dense", {}});
  for (const Kind kind : {Kind::kEqualKeys, Kind::kDominantKey, Kind::kHugeValues})
    check_packed(case_of(128, 4, 700, kind), {"dense", {}});
}

TEST_CASE("fp8: what is no number stays where it is", "[parity][quick]") {
  if (without_device()) return;
  Case value = case_of(128, 4, 700);
  value.values[5 * 128 + 9] = NAN;
  check_packed(value, {"dense", {}});
  Case query = case_of(128, 4, 700);  // of one head, and the others are as they were
  query.queries[1 * 128 + 5] = INFINITY;
  const auto decoder = on_gpu({"dense", {}}, kFp8);
  decoder->prefill(query.cache());
  const StepResult odd = decoder->step(query.block(), Detail::kCounts);
  query.queries[1 * 128 + 5] = 0;
  const StepResult even = decoder->step(query.block(), Detail::kCounts);
  for (const int head : {0, 1, 2, 3})
    CHECK((distance(odd.output.data() + head * 128, even.output.data() + head * 128, 128) < 1e-6) ==
          (head != 1));
}

TEST_CASE("fp8: double_p attends its clusters as core stores them", "[parity][quick]") {
  if (without_device()) return;
  const std::vector<Setup> setups = {
      {"double_p", {}},
      {"double_p", {{"gqa", std::string("group_sum")}, {"p2", 0.4}}},
      {"double_p",
       {{"outside", std::string("estimate")}, {"tokens_per_cluster", std::int64_t{32}}}},
      {"double_p", {{"p1", 1.0}, {"p2", 1.0}}},
      best({{"share", 0.2}, {"tokens_per_cluster", std::int64_t{32}}}),
      // A token a cluster: scales of a row each.
      best({{"share", 0.3}, {"tokens_per_cluster", std::int64_t{1}}}),
      {"double_p", {{"tokens_per_cluster", std::int64_t{1000}}}},
  };
  for (const Setup& setup : setups) {
    for (const Kind kind : {Kind::kPlain, Kind::kEqualKeys, Kind::kDominantKey})
      check_packed(case_of(128, 4, 700, kind), setup);
    for (const int dim : {64, 80, 256}) check_packed(case_of(dim, 6, 500), setup);
    check_packed(case_of(128, 4, 40), setup);  // sinks and window alone
  }
}

TEST_CASE(
    "fp8: tokens that join stay in 16 bits until their block is full or clusters are made anew",
    "[parity][race]") {
  if (without_device()) return;
  const std::vector<Setup> setups = {
      {"dense", {}}, {"double_p", {{"recluster_every", std::int64_t{40}}, {"p2", 0.9}}}};
  for (const Setup& setup : setups) {
    Case c = case_of(64, 2, 190);
    const auto decoder = on_gpu(setup, kFp8);
    decoder->prefill(c.cache());
    for (const std::int64_t length : {190, 191, 200, 257}) {
      c.length = length;
      if (length > 190) decoder->append(c.cache());
      INFO(setup.policy);
      check_step(c, decoder->step(c.block(), Detail::kSelections), tolerance(KvDtype::kBf16).terms);
    }
  }
}

TEST_CASE("fp8: the whole step is the reference's, with its error against the unpacked cache",
          "[parity]") {
  if (without_device()) return;
  const Case c = case_of(128, 4, 700);
  const Setup dense{"dense", {}};
  std::vector<StepResult> results;
  for (const KvDtype dtype : {KvDtype::kBf16, kFp8})
    for (const auto& decoder : {on_gpu(dense, dtype), on_cpu(dense, dtype)}) {
      decoder->prefill(c.cache());
      results.push_back(decoder->step(c.block(), Detail::kCounts));
    }
  const auto n = static_cast<std::int64_t>(results[0].output.size());
  const double device = distance(results[2].output.data(), results[0].output.data(), n),
               core = distance(results[3].output.data(), results[1].output.data(), n);
  CHECK(core > 1e-3);
  CHECK(device == Approx(core).epsilon(0.01));
  CHECK(results[2].cost[0][Stage::kAttend].bytes == results[3].cost[0][Stage::kAttend].bytes);
}

TEST_CASE("fp8: a batch in the benchmark errs as its sequences do, from half the bytes",
          "[parity][quick]") {
  if (without_device()) return;
  const bench::RecordedHeads heads({needle_4k()}, 2, 0.1f);
  const std::vector<std::int64_t> lengths = {900, 320, 5000};
  bench::Subject together(heads, lengths);
  const auto room = bench::Subject::make_source(heads, 5000);
  const auto settings =
      bench::parse_settings({"dense", "dense:kv_dtype=fp8", "double_p:p1=1,p2=1",
                             "double_p:p1=1,p2=1,kv_dtype=fp8", "dense:kv_dtype=fp8"},
                            {}, bench::request_of({needle_4k()}, 2));
  std::vector<std::vector<float>> outputs;
  std::vector<double> bytes;
  for (const bench::Setting& setting : settings) {
    together.prepare(setting, room.get());
    together.enqueue(nullptr);
    outputs.push_back(together.output());
    bytes.push_back(together.reads().cost[Stage::kAttend].bytes);
  }
  const auto apart = [&](int a, int b) {
    return distance(outputs[a].data(), outputs[b].data(),
                    static_cast<std::int64_t>(outputs[a].size()));
  };
  for (const int packed : {1, 3}) {
    CHECK(apart(packed, packed - 1) > 1e-4);
    CHECK(apart(packed, packed - 1) < 0.08);
    CHECK(bytes[packed] < 0.56 * bytes[packed - 1]);
    CHECK(bytes[packed] > 0.5 * bytes[packed - 1]);
  }
  CHECK(apart(4, 1) == 0);  // after clusters were packed in between
}

}  // namespace doublep::test
