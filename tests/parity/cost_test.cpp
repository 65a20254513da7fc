// What a step is said to cost on the GPU is what the reference counts for the same selection.
#include "tests/parity/support.h"

namespace doublep::test {
namespace {

/// `same`: both backends attend the same tokens and terms, or up to near-ties of pages. Where they
/// cluster differently, only the attend stage may differ, by as much as the selections do.
struct Counted {
  Setup setup;
  double attend;     ///< allowed relative difference of the attend stage
  double otherwise;  ///< and of the other stages, and of the index
};

const std::vector<Counted>& counted() {
  static const std::vector<Counted> list = {
      {{"dense", {}}, 1e-9, 1e-9},
      {{"streaming", {}}, 1e-9, 1e-9},
      {{"quest", {{"budget", std::int64_t{200}}}}, 0.01, 1e-9},
      {{"quest", {{"budget", 0.4}, {"page_size", std::int64_t{24}}}}, 0.01, 1e-9},
      {{"twilight", {}}, 0.03, 0.01},
      {{"double_p", {{"p1", 1.0}, {"p2", 1.0}}}, 1e-9, 1e-9},
      {{"double_p", {{"recluster_every", std::int64_t{20}}}}, 0.2, 1e-9},
      {{"double_p",
        {{"value_side", std::string("shifted")}, {"recluster_every", std::int64_t{20}}}},
       0.2,
       1e-9},
      {{"double_p", {{"estimator", std::string("second_order")}, {"segment", std::int64_t{100}}}},
       0.2,
       1e-9},
      {best({{"metric", std::string("query")},
             {"mass_scope", std::string("all")},
             {"recluster_every", std::int64_t{20}}}),
       0.2, 1e-9},
      {{"double_p",
        {{"metric", std::string("query")},
         {"metric_source", std::string("steps")},
         {"metric_queries", std::int64_t{2}},
         {"estimator", std::string("pooled")}}},
       0.2,
       1e-9},
      // How much is refined depends on clusters and on factors that were learnt over them.
      {best({{"stop", std::string("error")},
             {"error", 0.2},
             {"calibration", std::string("prompt")},
             {"metric", std::string("query")},
             {"recluster_every", std::int64_t{20}}}),
       0.4, 1e-9},
      {{"cluster_top_k", {{"k", std::int64_t{9}}}}, 0.3, 1e-9},
      {{"cluster_top_p", {{"p", 0.9}, {"mass_scope", std::string("all")}}}, 0.2, 1e-9},
      {{"retroinfer", {{"retrieval", 0.2}, {"recluster_every", std::int64_t{20}}}}, 0.3, 1e-9},
  };
  return list;
}

void check_close(double gpu, double cpu, double allowed) {
  CHECK(std::abs(gpu - cpu) <= allowed * std::abs(cpu));
}

void check(const StepResult& gpu, const StepResult& cpu, const Counted& counted) {
  REQUIRE(gpu.cost.size() == cpu.cost.size());
  StepCost sum[2];
  for (std::size_t h = 0; h < gpu.cost.size(); ++h)
    for (int s = 0; s < kNumStages; ++s) {
      sum[0].stages[s] += gpu.cost[h].stages[s], sum[1].stages[s] += cpu.cost[h].stages[s];
      if (static_cast<Stage>(s) == Stage::kAttend) continue;  // differs more for a single head
      INFO("head " << h << ", stage " << kStageNames[s]);
      check_close(gpu.cost[h].stages[s].bytes, cpu.cost[h].stages[s].bytes, counted.otherwise);
      check_close(gpu.cost[h].stages[s].flops, cpu.cost[h].stages[s].flops, counted.otherwise);
    }
  INFO("attend, all heads");
  check_close(sum[0][Stage::kAttend].bytes, sum[1][Stage::kAttend].bytes, counted.attend);
  check_close(sum[0][Stage::kAttend].flops, sum[1][Stage::kAttend].flops, counted.attend);
}

}  // namespace

TEST_CASE("a step's cost is the reference's, its index's too", "[parity]") {
  if (without_device()) return;
  for (const KvDtype dtype : {KvDtype::kFp32, KvDtype::kBf16})
    for (const Counted& each : counted()) {
      Case c;
      c.dtype = dtype, c.length = 600;
      c.fill();
      c.ask(32);
      const auto gpu = on_gpu(each.setup, dtype), cpu = on_cpu(each.setup, dtype);
      gpu->prefill(c.cache()), cpu->prefill(c.cache());
      for (const int joined : {0, 7, 30}) {  // the last one re-clusters, where that is asked for
        c.length += joined;
        gpu->append(c.cache()), cpu->append(c.cache());
        const StepResult mine = gpu->step(c.block(), Detail::kSelections);
        const StepResult reference = cpu->step(c.block(), Detail::kSelections);
        INFO(each.setup.policy << ", " << c.text());
        check(mine, reference, each);
        const IndexCost a = gpu->index_cost(), b = cpu->index_cost();
        check_close(a.memory_bytes, b.memory_bytes, 1e-9);
        check_close(a.build.bytes, b.build.bytes, 1e-9);
        check_close(a.build.flops, b.build.flops, 1e-9);
        if (joined == 30 && each.setup.given.count("recluster_every"))
          CHECK(mine.cost[0][Stage::kIndex].flops > 0);
      }
    }
}

TEST_CASE("a step that reports its output alone says only what its index cost", "[parity]") {
  if (without_device()) return;
  Case c;
  c.fill();
  const auto decoder = on_gpu({"quest", {{"budget", std::int64_t{200}}}}, c.dtype);
  decoder->prefill(c.cache());
  CHECK(decoder->step(c.block(), Detail::kOutput).cost[0][Stage::kIndex].bytes == 0);
  c.length += 5;
  decoder->append(c.cache());
  const StepResult result = decoder->step(c.block(), Detail::kOutput);
  CHECK(result.selections.empty());
  CHECK(result.cost[0][Stage::kIndex].bytes > 0);
  CHECK(result.cost[0][Stage::kEstimate].bytes == 0);
  CHECK(result.cost[0][Stage::kAttend].bytes == 0);
}

}  // namespace doublep::test
