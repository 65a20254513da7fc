// Does every policy become dense attention in its limit, and dense what the recorder computed?
#include "tests/catch.h"
#include "tests/support/brute_force.h"
#include "tests/support/message.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// Parameters with which a policy attends everything.
const std::vector<std::pair<std::string, Given>> kLimits = {
    {"dense", {}},
    {"streaming", {{"window", i64(100000)}}},
    {"streaming", {{"sink", i64(100000)}}},
    {"oracle_top_k", {{"budget", i64(100000)}}},
    {"oracle_top_p", {{"p", 1.0}}},
    {"cluster_top_k", {{"k", i64(100000)}}},
    {"cluster_top_p", {{"p", 1.0}}},
    {"cluster_top_p", {{"p", 1.0}, {"gqa", std::string("group_union")}}},
    {"double_p", {{"p1", 1.0}, {"p2", 1.0}}},
    {"double_p", {{"p1", 1.0}, {"p2", 1.0}, {"mass_scope", std::string("all")}}},
    {"double_p", {{"p1", 1.0}, {"p2", 1.0}, {"gqa", std::string("group_sum")}}},
    {"double_p", {{"p1", 1.0}, {"p2", 1.0}, {"estimator", std::string("second_order")}}},
    {"double_p", {{"tokens_per_cluster", i64(1)}, {"outside", std::string("estimate")}}},
};

}  // namespace

TEST_CASE("limits on random caches: every output is that of long double's dense attention") {
  for (const auto& [policy, given] : kLimits)
    for (std::uint64_t seed : {1, 2, 3}) {
      INFO(policy << " " << seed);
      const RandomCache cache({2, 3, 300, 32}, seed);
      const auto decoder = make_decoder(policy, given);
      decoder->prefill(cache.view().first(280));
      decoder->append(cache.view());
      const auto result = decoder->step(cache.block(), Detail::kSelections);
      Selection all;
      for (std::int32_t j = 0; j < 300; ++j) all.tokens.push_back(j);
      for (int h = 0; h < 6; ++h) {
        const auto expected = brute_attend(cache.head(h / 3), cache.group(h / 3), h % 3, all);
        CHECK(relative_distance(result.output.data() + h * 32, expected.output) < 1e-5);
        CHECK(std::abs(result.log_sum_exp[h] - static_cast<double>(expected.log_sum_exp)) < 1e-5);
      }
    }
}

TEST_CASE("(p1, p2) = (1, 1) and dense attend all of needle-4k to 1e-5") {
  const Trace trace = Trace::open(needle_4k());
  for (const auto& [policy, given] :
       {std::pair<std::string, Given>{"dense", {}}, {"double_p", {{"p1", 1.0}, {"p2", 1.0}}}}) {
    INFO(policy);
    const auto result = replay_policy(trace, policy, given);
    REQUIRE(result.rows.size() == 2 * 32 * 8);
    double error = 0, lse = 0, mass = 1;
    std::int64_t violations = 0;
    for (const Row& row : result.rows) {
      error = std::max(error, row.output_error);
      lse = std::max(lse, row.lse_error);
      mass = std::min(mass, row.exact_mass);
      violations += row.violation;
    }
    CHECK(error < 1e-5);
    CHECK(lse < 1e-5);
    CHECK(mass > 1 - 1e-9);
    CHECK(violations == 0);
  }
}

TEST_CASE("dense attention reproduces the recorded outputs to 1e-4", "[heavy]") {
  std::vector<std::pair<std::string, std::string>> traces = {{"qwen-needle-8k", shipped_trace()},
                                                             {"needle-4k", needle_4k()}};
  for (const char* name : {"code-8k", "needle-16k", "qwen-code-16k"})
    traces.emplace_back(name, shared_trace(name));
  for (const auto& [name, path] : traces) {
    if (path.empty()) {
      skip(name + " is not there; set DOUBLEP_SHARED to the folder that holds traces/");
      continue;
    }
    const Trace trace = Trace::open(path);
    ReplayOptions options;  // every step is the recorder's; each layer's worst is asked for
    if (contains(name, "16k")) options.every_step = 6;
    const auto result = replay_policy(trace, "streaming", {}, options);
    REQUIRE(result.layers.size() == trace.info().layers.size());
    for (const LayerSummary& layer : result.layers) {
      INFO(name << ", layer " << layer.layer);
      CHECK(layer.dense_mismatch < 1e-4);
      CHECK(layer.dense_mismatch > 0);  // recorded in float32, recomputed in float64
    }
  }
}
