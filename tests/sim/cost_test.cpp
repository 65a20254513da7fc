// The cost model: limits that can be worked out by hand, and what must never go the wrong way.
#include <vector>

#include "sim/cost/attention.h"
#include "sim/cost/roofline.h"
#include "tests/catch.h"
#include "tests/sim/machine.h"

using namespace doublep;
using namespace doublep::sim;
using namespace doublep::sim::test;

TEST_CASE("With zero overheads a kernel's time is the roofline", "[sim]") {
  Machine machine{simple_hardware(), {}};
  machine.hardware.launch_overhead.value = 0;
  const Timing memory = kernel_time(machine, Access::kDense, 3e9, 1e12, "bf16");
  CHECK(memory.seconds == Approx(3e-3));  // 3 GB at 1 TB/s; 1 TFLOP would take 1 ms
  CHECK(memory.bound == Bound::kMemory);
  const Timing compute = kernel_time(machine, Access::kDense, 3e9, 8e12, "bf16");
  CHECK(compute.seconds == Approx(8e-3));
  CHECK(compute.bound == Bound::kCompute);
  const Timing uneven = kernel_time(machine, Access::kDense, 3e9, 1e12, "bf16", 2.5);
  CHECK(uneven.seconds == Approx(7.5e-3));
  CHECK(uneven.bound == Bound::kImbalance);
}

TEST_CASE("Infinite bandwidth leaves compute and launches", "[sim]") {
  Machine machine{simple_hardware(), {}};
  machine.hardware.achieved_bandwidth->value = 1e30;
  CHECK(kernel_time(machine, Access::kDense, 3e9, 4e12, "bf16").seconds == Approx(4e-3 + 1e-6));
  const Timing launch = kernel_time(machine, Access::kDense, 3e9, 0, "bf16", 1, 3);
  CHECK(launch.seconds == Approx(3e-6));
  CHECK(launch.bound == Bound::kLaunch);
}

TEST_CASE("Efficiencies divide what the machine reaches", "[sim]") {
  Machine machine{simple_hardware(), {}};
  machine.efficiency[Access::kSparse] = {0.5, 2e-6, 1};
  CHECK(kernel_time(machine, Access::kSparse, 1e9, 0, "bf16").seconds == Approx(2e-3 + 2e-6));
  CHECK(kernel_time(machine, Access::kDense, 1e9, 0, "bf16").seconds == Approx(1e-3 + 1e-6));
}

TEST_CASE("A machine without a measurement is taken to reach the measured one's share", "[sim]") {
  Hardware h = simple_hardware();
  CHECK(h.bandwidth() == 1e12);
  h.achieved_bandwidth.reset();
  CHECK(h.bandwidth() == Approx(2e12 * 3.184 / 3.35));
  CHECK(h.flops("fp16") == h.flops("bf16"));  // wider units serve types without their own
  CHECK(h.flops("fp8") == h.flops("bf16"));
}

TEST_CASE("Imbalance: blocks per head against an even split", "[sim]") {
  const std::vector<double> work = {100, 10, 10, 10};
  CHECK(imbalance(work, 4, Balance::kHead, 1) == Approx(100 * 4 / 130.0));
  CHECK(imbalance(work, 4, Balance::kSplit, 1) == Approx(33 * 4 / 130.0));  // whole tiles
  CHECK(imbalance(std::vector<double>(8, 5.0), 4, Balance::kHead, 1) == Approx(1));
  CHECK(imbalance(std::vector<double>(5, 5.0), 4, Balance::kHead, 1) == Approx(2 * 4 / 5.0));
  CHECK(imbalance({}, 4, Balance::kHead, 1) == 1);
}

TEST_CASE("A head without work does not launch, and the spread costs only the unsplit kernel",
          "[sim]") {
  Machine machine{simple_hardware(), {}};
  std::vector<HeadWork> heads(100);
  for (auto& head : heads) head.bytes = {0, 0, 0, 1e6};
  AttentionOptions options;
  options.dense = true;
  const AttentionTiming even = attention_time(machine, heads, options);
  CHECK(even.stages[static_cast<int>(Stage::kEstimate)].seconds == 0);
  CHECK(even.seconds() == Approx(1e8 / 1e12 + 1e-6).epsilon(0.02));
  heads[7].bytes[3] = 5e6;
  options.balance = Balance::kHead;
  const AttentionTiming uneven = attention_time(machine, heads, options);
  CHECK(uneven.seconds() > 4 * even.seconds());
  CHECK(uneven.stages[static_cast<int>(Stage::kAttend)].bound == Bound::kImbalance);
  options.balance = Balance::kSplit;
  CHECK(attention_time(machine, heads, options).seconds() < 1.1 * even.seconds());
}

TEST_CASE("The host link binds where little is in the device's cache", "[sim]") {
  Machine machine{simple_hardware(), {}};
  std::vector<HeadWork> heads(2);
  for (auto& head : heads) head.bytes = {0, 0, 0, 1e6};
  AttentionOptions options;
  options.host_bytes = 1e6;
  const AttentionTiming t = attention_time(machine, heads, options);
  CHECK(t.seconds() == Approx(1e6 / 50e9));
  CHECK(t.stages[static_cast<int>(Stage::kAttend)].bound == Bound::kHostLink);
}

TEST_CASE("All-reduce: nothing alone, a ring together, an error without an interconnect", "[sim]") {
  Hardware h = simple_hardware();
  CHECK(all_reduce_time(h, 1e6, 1).seconds == 0);
  CHECK(all_reduce_time(h, 1e6, 8).seconds == Approx(5e-6 + 1.75e6 / 400e9));
  h.interconnect_bandwidth.value = 0;
  CHECK_THROWS_AS(all_reduce_time(h, 1e6, 2), InputError);
}

TEST_CASE("Blocks of a search take turns where they are not resident together", "[sim]") {
  Hardware h = simple_hardware();  // 100 processors
  h.shared_memory = Figure{228e3, "made up"};
  // One block a query head; two to a processor while two heads' masses fit its shared memory.
  CHECK(resident_blocks(h, Search::kHeads, 1000) == 2);
  CHECK(resident_blocks(h, Search::kHeads, 30000) == 1);
  CHECK(resident_blocks(h, Search::kTokens, 10000) ==
        1);  // room for every token, not candidates only
  CHECK(search_turns(h, Search::kHeads, 1000, 50, 4) == 1);
  CHECK(search_turns(h, Search::kHeads, 1000, 100, 4) == Approx(2.5));
  CHECK(search_turns(h, Search::kHeads, 30000, 50, 4) == Approx(2.5));
  Machine machine{h, {}};
  machine.efficiency.searches[0] = {3e-6, 2e-6, 1e9};
  CHECK(search_seconds(machine, Search::kHeads, 1000, 50, 4) == Approx(3e-6 + 2e-6 + 1e-6));
  CHECK(search_seconds(machine, Search::kHeads, 1000, 100, 4) == Approx(3e-6 + 2.5 * 3e-6));
  // By error: blocks share a KV head's masses while there is room for all of them at once.
  CHECK(search_team(h, Search::kRanked, 4096, 8) == 8);
  CHECK(search_team(h, Search::kRanked, 4096, 16) == 4);
  CHECK(search_team(h, Search::kRanked, 250, 8) == 2);
  CHECK(search_team(h, Search::kRanked, 4096, 64) == 1);
  CHECK(search_team(h, Search::kGroup, 4096, 8) == 1);
  // One block a KV head goes on for a group; what is not kept counts twice, but where none is such.
  CHECK(search_load(h, Search::kGroup, 1000, 200, 4) <
        search_load(h, Search::kHeads, 1000, 200, 4));
  CHECK(search_load(h, Search::kHeads, 2e5, 1, 1) > 3e5);
  CHECK(search_load(h, Search::kHeads, 30000, 1, 1) == Approx(30000));
  machine.efficiency.searches[static_cast<int>(Search::kGroup)] = {1e-6, 0, 1e9};
  CHECK(search_seconds(machine, Search::kRanked, 4096, 8, 4) == Approx(1e-6 + 0.512e-6));
  machine.efficiency.searches[static_cast<int>(Search::kRanked)] = {3e-6, 2e-6, 1e9};
  CHECK(search_seconds(machine, Search::kRanked, 4096, 8, 4) == Approx(5e-6 + 0.512e-6));
  for (const Search kind : {Search::kHeads, Search::kRanked})
    for (double pairs = 1; pairs < 1000; pairs *= 1.3)
      CHECK(search_seconds(machine, kind, 1000, pairs, 4) <=
            search_seconds(machine, kind, 1000, pairs * 1.3, 4));
  h.shared_memory.reset();
  CHECK(h.shared_bytes() == 228e3);  // the machine on which searches are fitted
}

TEST_CASE("A step of sinks and window alone costs its launches, not a search of nothing", "[sim]") {
  Machine machine{simple_hardware(), {}};
  machine.efficiency[Access::kSparse].latency = 9e-6;
  std::vector<HeadWork> heads(16);
  for (HeadWork& w : heads) w.bytes[static_cast<int>(Stage::kAttend)] = 34816;
  AttentionOptions options;
  options.search = Search::kZone;
  const double unfitted = attention_time(machine, heads, options).seconds();
  CHECK(unfitted > 10e-6);  // two launches: the list, and the kernel over it
  machine.efficiency.searches[static_cast<int>(Search::kZone)] = {8e-6, 4e-6, 0};
  const double fitted = attention_time(machine, heads, options).seconds();
  CHECK(fitted > 12e-6);
  CHECK(fitted < 13e-6);  // the fit holds the latency of both
}
