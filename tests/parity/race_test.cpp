// Every kernel once, on caches small enough for a tool that watches every access to shared memory.
#include "tests/parity/support.h"

namespace doublep::test {

TEST_CASE("every kernel runs on a small cache", "[parity][race]") {
  if (without_device()) return;
  const std::vector<Setup> setups = {
      {"dense", {}},
      {"streaming", {}},
      {"cluster_top_k", {{"k", std::int64_t{3}}}},
      {"double_p", {{"recluster_every", std::int64_t{8}}}},
      {"double_p",
       {{"estimator", std::string("second_order")},
        {"gqa", std::string("group_sum")},
        {"mass_scope", std::string("all")}}},
      {"double_p",
       {{"value_side", std::string("shifted")}, {"outside", std::string("estimate")}, {"p2", 0.3}}},
      best({{"metric", std::string("query")}}),
      best({{"stop", std::string("error")}, {"calibration", std::string("prompt")}}),
      {"double_p", {{"estimator", std::string("pooled")}}},
      {"quest", {{"budget", std::int64_t{48}}}},
      {"twilight", {}},
      {"retroinfer", {{"retrieval", 0.2}}},
  };
  for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kFp32})
    for (const Setup& setup : setups) {
      Case c;
      c.dtype = dtype, c.kv_heads = 1, c.group = 2, c.head_dim = 64;
      c.length = 190, c.capacity = 220;
      c.fill();
      c.ask(20);
      const auto decoder = on_gpu(setup, dtype);
      decoder->prefill(c.cache());
      for (const std::int64_t length : {190, 203}) {
        c.length = length;
        if (length > 190) decoder->append(c.cache());
        const StepResult result = decoder->step(c.block(), Detail::kSelections);
        const Attended same = attend_same(c, result);
        INFO(setup.policy << ", " << c.text());
        CHECK(distance(result.output.data(), same.output.data(), result.output.size()) <
              tolerance(dtype).terms);
      }
    }
}

}  // namespace doublep::test
