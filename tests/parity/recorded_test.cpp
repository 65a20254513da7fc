// Third check, end to end: replaying recorded traces gives the reference's table on the GPU.
#include <cstdlib>
#include <iomanip>
#include <sstream>

#include "core/decoder/reference_decoder.h"
#include "experiments/replay/replay.h"
#include "tests/parity/support.h"
#include "tests/support/paths.h"

namespace doublep::test {
namespace {

struct Summary {
  double error = 0, tokens = 0, covered = 0, bytes = 0;
};

Summary replayed(const Trace& trace, const Setup& setup, KvDtype dtype, bool gpu) {
  const PolicyInfo& info = PolicyRegistry::instance().find(setup.policy);
  const Parameters parameters = resolve(info, setup.given);
  ReplayOptions options;
  options.every_step = 11;
  const auto result = replay(
      trace, options,
      [&](int layer, int) -> std::unique_ptr<Decoder> {
        PolicyContext context;
        context.layer = layer, context.kv_dtype = dtype;
        if (gpu) return cuda::make_decoder(info, parameters, context);
        return std::make_unique<ReferenceDecoder>(info, parameters, context);
      },
      [](double) { return true; });
  Summary s;
  const double n = static_cast<double>(result.rows.size());
  for (const Row& row : result.rows) {
    s.error += row.output_error / n;
    s.tokens += static_cast<double>(row.exact_tokens) / n;
    s.covered += row.covered_mass / n;
    for (const double bytes : row.bytes) s.bytes += bytes / n;
  }
  return s;
}

std::vector<std::string> traces() {
  std::vector<std::string> paths = {needle_4k()};
  if (const char* more = std::getenv("DOUBLEP_TRACES")) {
    std::stringstream list(more);
    for (std::string path; std::getline(list, path, ':');)
      if (path.find("needle-4k") == std::string::npos) paths.push_back(path);
  } else {
    skip("DOUBLEP_TRACES names no further traces; only needle-4k is replayed");
  }
  return paths;
}

}  // namespace

// Stated tolerances. Clusterings differ (16-bit centroids while they move), so what depends on them
// agrees on average: error within 10 % and 0.003, exact tokens within 6 %, covered mass within
// 0.01. Pages and 4-bit keys do not: error within 5 % and 0.003, exact tokens within 3 %, covered
// mass within 0.005; what is left is the rounding of keys and values to 16 bits, which near-ties
// feel. RetroInfer attends a handful of clusters for a whole group, so that one that falls apart
// otherwise weighs more: half as much again for error and covered mass. Dense has rounding as its
// only error.
TEST_CASE("a replay on the GPU gives the reference's table", "[parity]") {
  if (without_device()) return;
  std::map<std::string, ParamValue> shifted = {{"estimator", std::string("second_order")},
                                               {"outside", std::string("estimate")},
                                               {"gqa", std::string("group_sum")},
                                               {"value_side", std::string("shifted")}};
  const std::vector<Setup> setups = {
      {"streaming", {}},
      {"cluster_top_k", {{"k", std::int64_t{64}}}},
      {"cluster_top_p", {{"p", 0.9}}},
      {"double_p", {}},
      {"double_p", {{"estimator", std::string("second_order")}, {"gqa", std::string("group_sum")}}},
      {"double_p", shifted},
      best({{"value_side", std::string("shifted")}}),  // said aloud: it is looked at below
      {"quest", {{"budget", std::int64_t{512}}}},
      {"twilight", {}},
      {"retroinfer",
       {{"recluster_every", std::int64_t{16}}}},  // generated tokens are clustered too
      {"retroinfer", {{"retrieval", 0.1}}},
  };
  std::cout << std::fixed << std::setprecision(4);
  for (const std::string& path : traces()) {
    const Trace trace = Trace::open(path);
    for (const KvDtype dtype : {KvDtype::kFp32, KvDtype::kFp16, KvDtype::kBf16}) {
      const Summary dense = replayed(trace, {"dense", {}}, dtype, true);
      INFO(trace.info().name << ", dense, " << name_of(dtype));
      CHECK(dense.error < (dtype == KvDtype::kFp32 ? 1e-5 : dtype == KvDtype::kFp16 ? 2e-3 : 2e-2));
      CHECK(dense.covered > 1 - 1e-9);
    }
    for (const Setup& setup : setups) {
      const Summary cpu = replayed(trace, setup, KvDtype::kBf16, false);
      const Summary gpu = replayed(trace, setup, KvDtype::kBf16, true);
      std::cout << trace.info().name << "  " << std::setw(14) << setup.policy << "  error cpu "
                << cpu.error << " cuda " << gpu.error << "  exact tokens cpu " << cpu.tokens
                << " cuda " << gpu.tokens << "  covered cpu " << cpu.covered << " cuda "
                << gpu.covered << std::endl;
      INFO(trace.info().name << ", " << setup.policy);
      const bool clustered = setup.policy != "quest" && setup.policy != "twilight";
      const double room = setup.policy == "retroinfer" ? 1.5 : 1;
      CHECK(std::abs(gpu.error - cpu.error) <
            room * ((clustered ? 0.1 : 0.05) * cpu.error + 0.003));
      CHECK(std::abs(gpu.tokens - cpu.tokens) < (clustered ? 0.06 : 0.03) * cpu.tokens);
      CHECK(std::abs(gpu.covered - cpu.covered) < room * (clustered ? 0.01 : 0.005));
      if (!setup.given.count("value_side")) continue;
      // The shift moves values only, and pays on the device as it does for the reference.
      Setup plain = setup;
      plain.given["value_side"] = std::string("mean");
      const Summary unshifted = replayed(trace, plain, KvDtype::kBf16, true);
      const Summary expected = replayed(trace, plain, KvDtype::kBf16, false);
      INFO("unshifted " << unshifted.error << ", shifted " << gpu.error << ", the reference's "
                        << expected.error << " and " << cpu.error);
      CHECK(gpu.error < unshifted.error);
      CHECK(std::abs(gpu.error / unshifted.error - cpu.error / expected.error) < 0.03);
      CHECK(gpu.tokens == unshifted.tokens);
    }
  }
}

// With factors that are learnt from 64 queries, how far a selection goes depends on the clusters
// more than what it selects does: on this trace, of clusterings that begin at other random tokens,
// the reference's tokens differ by 6 %, its errors by 8 %. Stated here: tokens within 15 %, bytes
// within 12 %, error within 15 % and 0.003.
TEST_CASE("a replay to an error on the GPU gives the reference's table", "[parity]") {
  if (without_device()) return;
  const Trace trace = Trace::open(shipped_trace());
  const Setup setup =
      best({{"stop", std::string("error")}, {"calibration", std::string("prompt")}});
  const Summary cpu = replayed(trace, setup, KvDtype::kBf16, false);
  const Summary gpu = replayed(trace, setup, KvDtype::kBf16, true);
  INFO("error cpu " << cpu.error << " cuda " << gpu.error << ", exact tokens cpu " << cpu.tokens
                    << " cuda " << gpu.tokens << ", bytes cpu " << cpu.bytes << " cuda "
                    << gpu.bytes);
  CHECK(std::abs(gpu.error - cpu.error) < 0.15 * cpu.error + 0.003);
  CHECK(std::abs(gpu.tokens - cpu.tokens) < 0.15 * cpu.tokens);
  CHECK(std::abs(gpu.bytes - cpu.bytes) < 0.12 * cpu.bytes);
  CHECK(gpu.covered > 1 - 1e-9);  // everything outside is a term
  CHECK(gpu.error < 0.05);
}

}  // namespace doublep::test
