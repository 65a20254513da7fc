// Is cost what was touched, counted by hand?
#include <set>
#include <tuple>

#include "core/attention/attend.h"
#include "core/cost/stages.h"
#include "core/index/cluster_index.h"
#include "tests/support/message.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {
StepResult step_of(const RandomCache& cache, const std::string& policy, const Given& given,
                   KvDtype dtype = KvDtype::kBf16) {
  PolicyContext context;
  context.kv_dtype = dtype;
  const auto decoder = make_decoder(policy, given, context);
  decoder->prefill(cache.view());
  return decoder->step(cache.block(), Detail::kSelections);
}
}  // namespace

TEST_CASE("data types by name") {
  CHECK(bytes_of(parse_kv_dtype("fp32")) == 4);
  CHECK(bytes_of(parse_kv_dtype("fp16")) == 2);
  CHECK(bytes_of(parse_kv_dtype("bf16")) == 2);
  CHECK(bytes_of(parse_kv_dtype("fp8")) == 1);
  for (const char* name : {"fp32", "fp16", "bf16", "fp8"})
    CHECK(name_of(parse_kv_dtype(name)) == name);
  CHECK(contains(message_of([] { parse_kv_dtype("int4"); }), "int4"));
}

TEST_CASE("dense and streaming: keys and values of the tokens, once a group") {
  const RandomCache cache({2, 4, 100, 16});
  // 100 tokens, key and value of 16 elements of 2 bytes, shared by 4 heads.
  // FLOPs a head and token: 2 * 16 for the logit, 2 * 16 for the value, 1 exponential.
  for (const auto& [policy, given, tokens] :
       {std::tuple<std::string, Given, double>{"dense", {}, 100},
        {"streaming", {{"sink", i64(3)}, {"window", i64(7)}}, 10}}) {
    const auto result = step_of(cache, policy, given);
    REQUIRE(result.cost.size() == 8);
    for (const StepCost& cost : result.cost) {
      CHECK(cost[Stage::kAttend].bytes == tokens * 2 * 16 * 2 / 4);
      CHECK(cost[Stage::kAttend].flops == tokens * (4 * 16 + 1));
      for (Stage stage : {Stage::kIndex, Stage::kEstimate, Stage::kSelect}) {
        CHECK(cost[stage].bytes == 0);
        CHECK(cost[stage].flops == 0);
      }
    }
  }
  // A block of 64 tokens of 1 byte an element, with a pair of scales for every 16; the others wait.
  CHECK(step_of(cache, "dense", {}, KvDtype::kFp8).cost[0][Stage::kAttend].bytes ==
        (64 * 32 + 4 * 8 + 36 * 64) / 4.0);
}

TEST_CASE("heads that attend different tokens read their union once") {
  const RandomCache cache({1, 2, 20, 8});
  ClusteringOptions options;
  options.tokens_per_cluster = 5;
  const auto index =
      std::make_shared<const ClusterIndex>(ClusterIndex::build(cache.head(), 0, 20, options));
  GroupSelection chosen(2);
  chosen.heads[0].tokens = {1, 2, 3};
  chosen.heads[1].tokens = {3, 4};
  chosen.heads[0].terms = {{0, 0.0}, {1, 0.0}};
  chosen.heads[1].terms = {{1, 0.0}};
  chosen.heads[0].index = chosen.heads[1].index = index;
  charge_attend(cache.group(), cache.shape.head_dim, KvDtype::kFp16, chosen);
  // Union: 4 tokens of 2 * 8 * 2 bytes, 2 mean values of 8 * 2 bytes; half to each head.
  for (const StepCost& cost : chosen.cost)
    CHECK(cost[Stage::kAttend].bytes == (4 * 32 + 2 * 16) / 2);
  CHECK(chosen.cost[0][Stage::kAttend].flops == 3 * 33 + 2 * 17);
  CHECK(chosen.cost[1][Stage::kAttend].flops == 2 * 33 + 1 * 17);
}

TEST_CASE("double_p: centroids in estimate, masses in select, union in attend") {
  const RandomCache cache({1, 4, 164, 16});
  const Given given = {{"sink", i64(4)}, {"window", i64(0)}, {"tokens_per_cluster", i64(16)}};
  const auto result = step_of(cache, "double_p", given);
  // 160 tokens: 10 clusters; each a centroid of 16 * 2 bytes and a size of 4, once for 4 heads.
  for (const StepCost& cost : result.cost) {
    CHECK(cost[Stage::kEstimate].bytes == 10 * (16 * 2 + 4) / 4.0);
    CHECK(cost[Stage::kEstimate].flops >= 10 * 2 * 16);
    CHECK(cost[Stage::kSelect].bytes == 10 * 4);  // a mass of 4 bytes per cluster and head
    CHECK(cost[Stage::kIndex].bytes == 0);        // the first index is the prompt's
  }
  std::set<std::int32_t> tokens, terms;
  for (const Selection& s : result.selections) {
    tokens.insert(s.tokens.begin(), s.tokens.end());
    for (const ClusterTerm& term : s.terms) terms.insert(term.cluster);
  }
  CHECK(!terms.empty());
  for (const StepCost& cost : result.cost)
    CHECK(cost[Stage::kAttend].bytes ==
          (static_cast<double>(tokens.size()) * 64 + static_cast<double>(terms.size()) * 32) / 4);
  // second_order reads one more number per cluster.
  Given second = given;
  second["estimator"] = std::string("second_order");
  CHECK(step_of(cache, "double_p", second).cost[0][Stage::kEstimate].bytes ==
        10 * (16 * 2 + 8) / 4.0);
}

TEST_CASE("building anew is the cost of the step after it") {
  const RandomCache cache({1, 2, 200, 16});
  PolicyContext context;
  const auto decoder =
      make_decoder("double_p", {{"recluster_every", i64(10)}, {"window", i64(8)}}, context);
  decoder->prefill(cache.view().first(150));
  const Work first = decoder->index_cost().build;
  CHECK(first.flops > 0);
  decoder->append(cache.view().first(159));
  CHECK(decoder->step(cache.block(), Detail::kOutput).cost[0][Stage::kIndex].flops == 0);
  decoder->append(cache.view().first(160));
  const Work both = decoder->index_cost().build;
  CHECK(both.flops > first.flops);
  const auto step = decoder->step(cache.block(), Detail::kOutput);
  // Two heads carry half each, of bytes and of FLOPs.
  CHECK(step.cost[0][Stage::kIndex].flops == Approx((both.flops - first.flops) / 2));
  CHECK(step.cost[1][Stage::kIndex].bytes == Approx((both.bytes - first.bytes) / 2));
  CHECK(decoder->step(cache.block(), Detail::kOutput).cost[0][Stage::kIndex].flops == 0);
}
