// Weights and caches in few bits, experts, latent caches: what they hold, read and compute, worked
// out by hand.
#include "sim/model/model.h"

#include <cmath>

#include "sim/decode/latent.h"
#include "tests/catch.h"
#include "tests/sim/machine.h"

using namespace doublep;
using namespace doublep::sim;
using namespace doublep::sim::test;

namespace {

Model expert_model() {  // the first of four layers is dense
  Model m = simple_model();
  m.experts = Experts{8, 2, 512, 256, 1};
  return m;
}

Model latent_model() {
  Model m = simple_model();
  m.query_heads = 16, m.kv_heads = 1, m.head_dim = 0;
  m.latent = Latent{512, 64, 128, 96, 0};
  return m;
}

double time_of(const Model& m, const std::string& name, int rows) {
  for (const Gemm& g : layer_gemms(m, 1))
    if (g.name == name) return gemm_time({simple_hardware(), {}}, g, rows).seconds;
  FAIL("no product " << name);
  return 0;
}

std::string refused(const std::string& policy, std::map<std::string, ParamValue> given = {}) {
  const PolicyInfo& info = PolicyRegistry::instance().find(policy);
  return latent_refusal(latent_model(), info, resolve(info, given));
}

/// simple_profile() with 40 terms a step, whose mean values have 128 elements of 16 bits.
Workload with_terms(double zone) {
  Profile p = simple_profile(16384, 800, 262144);
  for (ProfileRow& row : p.rows) row.terms = 40, row.bytes[3] += 40 * 256;
  p.zone = zone;
  return Workload("made", {p});
}

}  // namespace

TEST_CASE("Integers take their bits and, a group, a scale and a minimum", "[sim]") {
  const Storage int4{Format::kInt4, 128}, int8{Format::kInt8, 64};
  CHECK(int4.row_bytes(1024) == 512 + 8 * 4);
  CHECK(int4.row_bytes(100) == 50 + 4);  // a group that is not full has a scale too
  CHECK(int8.row_bytes(1024) == 1024 + 16 * 4);
  CHECK(Storage{Format::kFp8}.row_bytes(1024) == 1024);
  CHECK(int4.compute() == "bf16");
  CHECK(Storage{Format::kFp8}.compute() == "fp8");

  Model m = simple_model();
  m.weights = int4;
  // qkv, o, gate_up: rows of 1024; down: of 4096. Embedding and head stay in 16 bits.
  const double layer = (1536 + 1024 + 8192) * 544.0 + 1024 * (2048 + 32 * 4.0);
  CHECK(m.weight_bytes() == 4 * layer + 2.0 * 32000 * 1024 * 2);
  // A product reads the packed weights, and two rows of 16-bit activations in and out.
  CHECK(time_of(m, "qkv", 2) == Approx(1e-6 + (1536 * 544.0 + 2 * (1536 + 1024) * 2) / 1e12));
  const Machine machine{simple_hardware(), {}};
  const DecodeCost packed = decode_step(m, machine, dense_workload(), simple_point()),
                   plain = decode_step(simple_model(), machine, dense_workload(), simple_point());
  CHECK(part(packed, "head") == part(plain, "head"));
  CHECK(part(plain, "projections") - part(packed, "projections") ==
        Approx(4 * (1536 + 1024) * (2048.0 - 544) / 1e12));
}

TEST_CASE("A batch reads the expected union of its experts", "[sim]") {
  CHECK(distinct_experts(8, 2, 1) == Approx(2));
  CHECK(distinct_experts(8, 2, 2) == Approx(8 * (1 - 0.75 * 0.75)));
  CHECK(distinct_experts(128, 8, 64) == Approx(128 * (1 - std::pow(15.0 / 16, 64))));
  CHECK(distinct_experts(4, 4, 3) == 4);
  CHECK(distinct_experts(1, 1, 1) == 1);
  // All choices of two tokens that take 2 of 4 experts each, counted.
  double sum = 0, pairs = 0;
  for (unsigned a = 0; a < 16; ++a)
    for (unsigned b = 0; b < 16; ++b)
      if (__builtin_popcount(a) == 2 && __builtin_popcount(b) == 2)
        sum += __builtin_popcount(a | b), ++pairs;
  CHECK(pairs == 36);
  CHECK(distinct_experts(4, 2, 2) == Approx(sum / pairs));
}

TEST_CASE("Experts: all are held, a token multiplies the active, a batch reads the union",
          "[sim]") {
  const Model m = expert_model();
  const double attention = 1024.0 * 1536 + 1024.0 * 1024, dense = 3.0 * 1024 * 4096,
               expert = 3.0 * 1024 * 512, shared = 3.0 * 1024 * 256, router = 8.0 * 1024;
  CHECK(m.stack_parameters() == 4 * attention + dense + 3 * (8 * expert + shared + router));
  CHECK(m.active_parameters() == 4 * attention + dense + 3 * (2 * expert + shared + router));
  CHECK(m.weight_bytes() == 2 * m.parameters());
  // Batch 2: 3.5 of 8 experts; two rows through two experts each are four rows in and out.
  CHECK(time_of(m, "experts' gate_up", 2) ==
        Approx(1e-6 + (3.5 * 1024 * 1024 * 2 + 4 * (1024 + 1024) * 2) / 1e12));
  CHECK(time_of(m, "experts' down", 2) ==
        Approx(1e-6 + (3.5 * 1024 * 512 * 2 + 4 * (1024 + 512) * 2) / 1e12));
  const Machine machine{simple_hardware(), {}};
  const DecodeCost cost = decode_step(m, machine, dense_workload(), simple_point(16384, 2));
  CHECK(part(cost, "mlp") ==
        Approx(time_of(m, "gate_up", 2) + time_of(m, "down", 2) +
               3 * (time_of(m, "router", 2) + time_of(m, "experts' gate_up", 2) +
                    time_of(m, "experts' down", 2) + time_of(m, "shared gate_up", 2) +
                    time_of(m, "shared down", 2))));
  CHECK(small_kernels(m) == small_kernels(simple_model()) + 2 * 3);
  // Prefill computes with the active ones.
  const double n = 20000;
  CHECK(prefill_seconds(m, machine, 20000, 1) ==
        Approx((2 * n * m.active_parameters() + 2 * n * n * 4 * 8 * 128) / 1e15));
  // Attention is the plain model's.
  CHECK(cost.bytes ==
        decode_step(simple_model(), machine, dense_workload(), simple_point(16384, 2)).bytes);
  CHECK((cost.extrapolated & kMachine) != 0);
}

TEST_CASE("A latent cache is one vector a token, on every device", "[sim]") {
  const Model m = latent_model();
  CHECK(m.token_bytes({}) == (512 + 64) * 2);
  CHECK(m.token_bytes({Format::kInt4, 32}) == 576 / 2 + 18 * 4);
  CHECK(m.token_bytes({Format::kFp8}) == 576 + 4 / 16.0);
  // q of 16 x (128 + 64) and the latent; its up-projection to 16 x (128 + 96); o.
  CHECK(m.stack_parameters() ==
        4 * (1024.0 * (16 * 192 + 576) + 512.0 * 16 * 224 + 1024.0 * 16 * 96 + 3.0 * 1024 * 4096));
  Model two = m;
  two.latent->query_rank = 256;
  CHECK(two.stack_parameters() - m.stack_parameters() ==
        4 * (1024.0 * 256 + 256.0 * 16 * 192 - 1024.0 * 16 * 192));
  CHECK(small_kernels(two) == small_kernels(simple_model()) + 2 * 4);
  const Machine machine{simple_hardware(), {}};
  DecodePoint point = simple_point(16384, 3);
  const DecodeCost cost = decode_step(m, machine, dense_workload(), point);
  CHECK(cost.bytes == Approx(4.0 * 3 * 16384 * 1152));  // layers, batch, tokens
  CHECK(memory_use(m, dense_workload(), point).kv == 4.0 * 3 * 16384 * 1152);
  point.tensor_parallel = 2;
  CHECK(decode_step(m, machine, dense_workload(), point).bytes == Approx(cost.bytes));
  const double n = 20000;
  CHECK(prefill_seconds(m, machine, 20000, 1) ==
        Approx((2 * n * m.active_parameters() + n * n * 4 * 16 * (128 + 64 + 96)) / 1e15));
}

TEST_CASE("What a policy reads of a latent cache", "[sim]") {
  const Model m = latent_model();
  const Workload workload = with_terms(100);
  const HeadWork work =
      layer_work(m, workload, workload.view(16384), simple_point(16384, 1), 0).at(0);
  CHECK(work.bytes[1] == Approx(262144.0 * 576 / 128));           // centroids
  CHECK(work.bytes[2] == Approx(64.0 * 16 / 4));                  // masses of 16 heads, not 4
  CHECK(work.bytes[3] == Approx(800 * 1152.0 + 40 * 512 * 2.0));  // tokens; mean values
  CHECK(work.flops[3] == Approx(800 * 512 * 4.0 * (16 / 4) * (576 + 512) / 256));
  CHECK(memory_use(m, workload, simple_point(16384, 1)).index ==
        Approx(4 * 262144.0 * (576 + 512) / 256));
}

TEST_CASE("A packed cache packs exact tokens, not sinks, window or index", "[sim]") {
  const Workload workload = with_terms(100);
  const auto attend = [&](const Storage& kv) {
    DecodePoint point = simple_point(16384, 1);
    point.kv = kv;
    const HeadWork work = layer_work(simple_model(), workload, workload.view(16384), point, 0)[0];
    CHECK(work.bytes[1] == Approx(262144));
    return work.bytes[3];
  };
  CHECK(attend({}) == Approx(800 * 512 + 40 * 256));
  CHECK(attend({Format::kFp8}) == Approx(100 * 512 + 700 * 256.5 + 40 * 256));
  CHECK(attend({Format::kInt4, 32}) == Approx(100 * 512 + 700 * 2 * (64 + 16.0) + 40 * 256));
  CHECK(attend({Format::kInt8, 128}) == Approx(100 * 512 + 700 * 2 * (128 + 4.0) + 40 * 256));
  DecodePoint point = simple_point(16384, 1);
  point.kv = {Format::kInt4, 32};
  CHECK(memory_use(simple_model(), workload, point).kv == 4.0 * 2 * 16384 * 160);
  CHECK(memory_use(simple_model(), workload, point).index == Approx(4.0 * 2 * 262144));
}

TEST_CASE("Which policies a latent cache takes", "[sim]") {
  CHECK(refused("dense").empty());
  CHECK(refused("streaming").empty());
  CHECK(refused("retroinfer").empty());
  CHECK(refused("double_p", {{"gqa", std::string("group_sum")}}).empty());
  CHECK(refused("double_p", {{"variant", std::string("best")}, {"head_kinds", std::string("one")}})
            .empty());
  for (const char* policy : {"quest", "double_p", "tactic"})
    CHECK(refused(policy).find("what all heads read together is in no profile") !=
          std::string::npos);
  for (const char* policy : {"twilight", "double_sparsity", "loki", "magicpig", "pqcache"})
    CHECK(refused(policy).find("ranks single tokens") != std::string::npos);
  CHECK(refused("double_p", {{"variant", std::string("best")}}).find("ranks single tokens") !=
        std::string::npos);
  const PolicyInfo& quest = PolicyRegistry::instance().find("quest");
  CHECK(latent_refusal(simple_model(), quest, resolve(quest, {})).empty());
}

TEST_CASE("Experts, latents, packed numbers and searches that nobody timed are marked", "[sim]") {
  Coverage coverage;
  coverage.calibrated = coverage.products = true;
  coverage.context_low = 1, coverage.context_high = 1 << 20, coverage.batch_high = 64;
  coverage.searches[static_cast<int>(Search::kHeads)] = true;
  const auto bits = [&](const Model& m, const Workload& w, Format kv = Format::kBf16) {
    DecodePoint point = simple_point();
    point.kv.format = kv;
    return extrapolations(m, w, point, coverage);
  };
  const Workload workload = simple_workload();
  CHECK(bits(simple_model(), workload) == 0);
  CHECK(bits(expert_model(), workload) == kProducts);
  CHECK(bits(latent_model(), workload) == (kProducts | kGroupSize | kHeadDim));
  CHECK(bits(simple_model(), workload, Format::kInt4) == kCacheFormat);
  Model packed = simple_model();
  packed.weights.format = Format::kInt8;
  CHECK(bits(packed, workload) == kProducts);
  Profile p = simple_profile(16384, 800, 262144);
  p.search = Search::kRanked;
  CHECK(bits(simple_model(), Workload("made", {p})) == kSearchKind);
  p.search = Search::kHeads, p.single_keys = true;
  CHECK(bits(simple_model(), Workload("made", {p})) == kSearchKind);
  CHECK(text_of(kCacheFormat | kSearchKind) == "kv_dtype, kind of search");
}
