// The ground truth that runs share: the same rows with it and without, within its memory.
#include "experiments/replay/truth_cache.h"

#include "tests/catch.h"
#include "tests/support/run_policy.h"
#include "tests/support/same_rows.h"
#include "tests/support/trace_file.h"

using namespace doublep;
using namespace doublep::test;

namespace {

ReplayResult replay_with(const Trace& trace, TruthCache* truths) {
  return replay(
      trace, {},
      [](int, int) {
        return make_decoder("streaming", {{"window", std::int64_t{4}}});
      },
      [](double) { return true; }, truths);
}

}  // namespace

TEST_CASE("runs that share the ground truth have the same bits as runs that do not") {
  const TraceFile file;
  const Trace trace = file.open();
  const ReplayResult alone = replay_with(trace, nullptr);
  REQUIRE(alone.rows.size() == 2 * 3 * 4);
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{4000}, std::size_t{1} << 30}) {
    TruthCache truths(trace, bytes);
    for (int run = 0; run < 3; ++run) CHECK(same_rows(replay_with(trace, &truths), alone));
  }
}

TEST_CASE("what fits is computed once, and what does not is not kept") {
  const TraceFile file;
  const Trace trace = file.open();
  TruthCache large(trace, 1 << 20), none(trace, 0);
  const auto layer = large.layer(10);
  CHECK(large.layer(10) == layer);
  std::weak_ptr<const TraceLayer> passing;
  {
    const auto in_use = none.layer(10);
    CHECK(none.layer(10) == in_use);
    passing = in_use;
  }
  CHECK(passing.expired());
  CHECK(none.layer(10)->keys == layer->keys);
  const auto truth = large.truth(*layer, 1, 0);
  CHECK(large.truth(*layer, 1, 0) == truth);
  CHECK(large.truth(*layer, 1, 1) != truth);
  CHECK(large.truth(*large.layer(1), 1, 0) != truth);
  CHECK(none.truth(*layer, 1, 0) != none.truth(*layer, 1, 0));
  CHECK(truth->weights.cols() == trace.info().positions[1] + 1);
  // A layer of the toy is 2 x 20 x 8 keys and values and 3 x 4 x 8 queries of 4 bytes.
  TruthCache one(trace, 4 * (2 * 2 * 20 * 8 + 3 * 4 * 8));
  const auto kept = [&](int index) {
    const std::weak_ptr<const TraceLayer> read = one.layer(index);
    return !read.expired();
  };
  CHECK(kept(1));
  CHECK(!kept(10));
}
