// Is a whole replay the same, bit for bit, on any number of threads?
#include <cstring>

#include "tests/catch.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

template <class T>
bool same_bits(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

int differences(const Row& a, const Row& b) {
  const StepMetrics &m = a.metrics, &n = b.metrics;
  int count = a.layer != b.layer || a.head != b.head || a.kv_head != b.kv_head || a.step != b.step;
  count += m.visible_tokens != n.visible_tokens || m.exact_tokens != n.exact_tokens;
  count += m.approximated_clusters != n.approximated_clusters || m.oracle_tokens != n.oracle_tokens;
  count += !same_bits(m.exact_mass, n.exact_mass) || !same_bits(m.covered_mass, n.covered_mass);
  count += !same_bits(m.output_error, n.output_error) || !same_bits(m.cosine, n.cosine);
  count += !same_bits(m.lse_error, n.lse_error) || a.violation != b.violation;
  count += !same_bits(a.audited_mass, b.audited_mass) || !same_bits(a.audited_low, b.audited_low);
  for (int s = 0; s < kNumStages; ++s)
    count += !same_bits(a.cost.stages[s].bytes, b.cost.stages[s].bytes) ||
             !same_bits(a.cost.stages[s].flops, b.cost.stages[s].flops);
  return count;
}

}  // namespace

TEST_CASE("a replay of every policy has the same bits on 1, 2 and 3 threads", "[heavy]") {
  const ThreadGuard guard;
  const Trace trace = Trace::open(shipped_trace());
  ReplayOptions options;
  options.layers = {7};
  options.every_step = 11;
  options.max_steps = 12;
  for (const PolicyInfo& policy : PolicyRegistry::instance().all()) {
    INFO(policy.name);
    Given given;  // an index built twice, by one policy for all that have one
    if (policy.name == "double_p") given["recluster_every"] = std::int64_t{8};
    std::vector<ReplayResult> results;
    for (int threads : {1, 2, 3}) {
      set_num_threads(threads);
      results.push_back(replay_policy(trace, policy.name, given, options));
    }
    REQUIRE(results[0].rows.size() == 2 * 8);
    for (int other : {1, 2}) {
      REQUIRE(results[other].rows.size() == results[0].rows.size());
      int count = 0;
      for (std::size_t i = 0; i < results[0].rows.size(); ++i)
        count += differences(results[0].rows[i], results[other].rows[i]);
      CHECK(count == 0);
      CHECK(same_bits(results[0].layers[0].index.build.flops,
                      results[other].layers[0].index.build.flops));
      CHECK(
          same_bits(results[0].layers[0].dense_mismatch, results[other].layers[0].dense_mismatch));
    }
  }
}
