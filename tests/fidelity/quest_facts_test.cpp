// Quest as an independent prototype measured it on the recorded traces: pages of 16, the best 64
// per query head over the true minimum and maximum of each, and sink 4 and window 64.
#include "tests/catch.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

struct Means {
  double mass = 0, tokens = 0, error = 0;
};

Means quest_on(const std::string& path) {
  const ReplayResult result = replay_policy(Trace::open(path), "quest");
  Means means;
  for (const Row& row : result.rows) {
    means.mass += row.exact_mass;
    means.tokens += static_cast<double>(row.exact_tokens);
    means.error += row.output_error;
  }
  const double n = static_cast<double>(result.rows.size());
  return {means.mass / n, means.tokens / n, means.error / n};
}

}  // namespace

TEST_CASE("Quest on needle-4k", "[heavy]") {
  const Means means = quest_on(needle_4k());
  CHECK(means.mass == Approx(0.915649).margin(5e-7));
  CHECK(means.tokens == Approx(1040.014).margin(5e-4));
  CHECK(means.error == Approx(0.0876).margin(5e-5));
}

TEST_CASE("Quest on code-8k", "[heavy]") {
  const std::string path = shared_trace("code-8k");
  if (path.empty()) return skip("the trace code-8k is not there; set DOUBLEP_SHARED");
  const Means means = quest_on(path);
  CHECK(means.mass == Approx(0.932197).margin(5e-7));
  CHECK(means.tokens == Approx(1026.243).margin(5e-4));
  CHECK(means.error == Approx(0.0598).margin(5e-5));
}
