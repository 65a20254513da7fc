// Is a whole replay the same, bit for bit, on any number of threads?
#include <cstring>

#include "experiments/results/stored_run.h"
#include "tests/catch.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// Columns whose bits are not the same.
template <class Record>
int differences(const Record& a, const Record& b, const Columns& columns) {
  int count = 0;
  for (const Column& column : columns)
    count += std::memcmp(reinterpret_cast<const char*>(&a) + column.offset,
                         reinterpret_cast<const char*>(&b) + column.offset, column.size) != 0;
  return count;
}

}  // namespace

TEST_CASE("a replay of every policy has the same bits on 1, 2 and 3 threads", "[heavy]") {
  const ThreadGuard guard;
  const Trace trace = Trace::open(needle_4k());
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
        count += differences(results[0].rows[i], results[other].rows[i], row_columns());
      CHECK(count == 0);
      LayerSummary one = results[0].layers[0], more = results[other].layers[0];
      one.seconds_index = one.seconds_steps = more.seconds_index = more.seconds_steps = 0;
      CHECK(differences(one, more, layer_columns()) == 0);
    }
  }
}
