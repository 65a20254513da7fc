// Where a policy begins to beat dense attention, and what a whole answer takes: lines whose
// crossing is known, sums worked out by hand.
#include "sim/decode/crossover.h"

#include "tests/catch.h"
#include "tests/sim/machine.h"

using namespace doublep;
using namespace doublep::sim;
using namespace doublep::sim::test;

namespace {

/// One processor: no work is ever uneven.
Machine even_machine() {
  Machine machine{simple_hardware(), {}};
  machine.hardware.processors.value = 1;
  return machine;
}

}  // namespace

TEST_CASE("The first context from which it lasts", "[sim]") {
  const auto from = [](std::int64_t wins, std::int64_t low = 1024, std::int64_t high = 1 << 20) {
    return first_lasting([=](std::int64_t c) { return c >= wins; }, low, high);
  };
  for (std::int64_t wins : {1025, 1500, 65536, 65537, 700001, 1 << 20}) CHECK(from(wins) == wins);
  CHECK(from(1) == 1024);           // all of the range
  CHECK(from((1 << 20) + 1) == 0);  // not at its end: never
  CHECK(from(7, 5, 9) == 7);
  CHECK(from(5, 5, 5) == 5);
  // A win that is lost again is none.
  const auto twice = [](std::int64_t c) { return (c > 3000 && c < 5000) || c > 40000; };
  CHECK(first_lasting(twice, 1024, 1 << 20) == 40001);
  CHECK(first_lasting([](std::int64_t c) { return c < 5000; }, 1024, 1 << 20) == 0);
}

TEST_CASE("A policy crosses dense where what it saves pays for its search", "[sim]") {
  // Four layers. Dense reads c tokens of 512 bytes of two KV heads: c * 1024 / 1e12 s. The policy
  // reads 400 tokens and centroids of 16 bytes a token, and launches two kernels more of 1 us each,
  // which its masses do not lengthen: from c * (1024 - 32) = 409600 + 2e6 bytes on.
  const auto profile = [](std::int64_t context) {
    return simple_profile(context, 400, 16.0 * static_cast<double>(context));
  };
  const Workload policy("made", {profile(1024), profile(65536)});
  const Machine machine = even_machine();
  const Crossover found =
      crossover(simple_model(), machine, policy, dense_workload(), simple_point(1, 1), 1024, 65536);
  CHECK(std::abs(found.context - (409600 + 2e6) / 992) <= 2);
  CHECK(found.largest == 65536);
  CHECK((found.extrapolated & kMachine) != 0);
  // Eight sequences: the launches are the same, the bytes eight times as many.
  const Crossover eight =
      crossover(simple_model(), machine, policy, dense_workload(), simple_point(1, 8), 500, 65536);
  CHECK(std::abs(eight.context - (409600 + 2e6 / 8) / 992) <= 2);
  // A policy that reads as much as dense and searches beside never wins.
  const Workload heavy("made",
                       {simple_profile(4096, 4096, 65536), simple_profile(16384, 16384, 262144)});
  CHECK(crossover(simple_model(), machine, heavy, dense_workload(), simple_point(1, 1), 1024, 65536)
            .context == 0);
}

TEST_CASE("The longest context that fits", "[sim]") {
  Machine machine = even_machine();
  const Model m = simple_model();
  // Room for the weights and exactly 20000 dense tokens, 4 layers x 1024 bytes each.
  machine.hardware.memory_capacity.value = m.weight_bytes() + 20000 * 4096.0;
  DecodePoint point = simple_point(1, 1);
  point.memory_share = 1;
  const auto largest = [&](std::int64_t from) {
    return crossover(m, machine, dense_workload(), dense_workload(), point, from, 65536).largest;
  };
  CHECK(largest(1024) == 20000);
  CHECK(largest(20001) == 0);
}

TEST_CASE("An answer: prefill, index, and its share of the steps", "[sim]") {
  const Machine machine = even_machine();
  const Model m = simple_model();
  const AnswerCost cost = answer_cost(m, machine, simple_workload(), simple_point(8192, 4), 1000);
  CHECK(cost.prefill == prefill_seconds(m, machine, 8192, 1));
  CHECK(cost.build == build_seconds(m, machine, simple_workload(), 8192, 1));
  CHECK(cost.build > 0);
  CHECK(cost.seconds == Approx(cost.prefill + cost.build + cost.steps / 4));
  // Dense steps grow by 4 layers x 4 sequences x 1024 bytes a token: Simpson is exact on a line.
  const AnswerCost dense = answer_cost(m, machine, dense_workload(), simple_point(8192, 4), 1000);
  const double first = decode_step(m, machine, dense_workload(), simple_point(8192, 4)).seconds;
  CHECK(dense.steps == Approx(1000 * (first + 500 * 4 * 4 * 1024 / 1e12)));
  CHECK(dense.build == 0);
  // Twice the answer takes more than twice the steps, and the prompt once.
  const AnswerCost twice = answer_cost(m, machine, dense_workload(), simple_point(8192, 4), 2000);
  CHECK(twice.steps == Approx(2000 * (first + 1000 * 4 * 4 * 1024 / 1e12)));
  CHECK(twice.prefill == dense.prefill);
}
