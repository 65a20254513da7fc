// How a sweep is dealt out: every run once, the same way each time, about equal cost, and what
// shares a trace together where that is cheaper.
#include "experiments/shards/shard.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>
#include <set>

#include "experiments/shards/deal.h"
#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/small_sweep.h"

using namespace doublep;
using namespace doublep::test;

namespace {

using Costs = std::vector<std::vector<double>>;

std::vector<double> loads(const Costs& costs, const std::vector<double>& shared,
                          const std::vector<int>& dealt, int shards) {
  std::vector<double> load(static_cast<std::size_t>(shards), 0.0);
  std::size_t place = 0;
  std::set<std::pair<int, std::size_t>> paid;
  for (std::size_t t = 0; t < costs.size(); ++t)
    for (const double cost : costs[t]) {
      const int shard = dealt[place++];
      load[static_cast<std::size_t>(shard)] += cost;
      if (paid.insert({shard, t}).second) load[static_cast<std::size_t>(shard)] += shared[t];
    }
  return load;
}

double largest(const std::vector<double>& load) {
  return *std::max_element(load.begin(), load.end());
}

// Of all ways to deal the runs, the least that the busiest shard has to do.
double least_possible(const Costs& costs, const std::vector<double>& shared, int shards) {
  std::size_t runs = 0, ways = 1;
  for (const auto& each : costs) runs += each.size();
  for (std::size_t i = 0; i < runs; ++i) ways *= static_cast<std::size_t>(shards);
  double best = std::numeric_limits<double>::infinity();
  for (std::size_t way = 0; way < ways; ++way) {
    std::vector<int> dealt;
    for (std::size_t i = 0, rest = way; i < runs; ++i, rest /= static_cast<std::size_t>(shards))
      dealt.push_back(static_cast<int>(rest % static_cast<std::size_t>(shards)));
    best = std::min(best, largest(loads(costs, shared, dealt, shards)));
  }
  return best;
}

}  // namespace

TEST_CASE("a shard is written i/n, and nothing else is one") {
  CHECK(parse_shard("2/4") == Shard{2, 4});
  CHECK(parse_shard("1/1").text() == "1/1");
  for (const char* bad : {"", "/", "2", "0/3", "4/3", "x", "x/3", "1/x", "1/", "/3", "-1/3", "1/-3",
                          "1.5/3", "1/3/4", " 1/3", "1/99999999999", "1/99999999999999999999"}) {
    INFO(bad);
    const std::string message = message_of([&] { parse_shard(bad); });
    CHECK(contains(message, std::string("--shard ") + bad + ": expected i/n"));
  }
  CHECK(shard_path("a/r.h5", {2, 4}) == "a/r.h5.shards/2-of-4.h5");
}

TEST_CASE("no way to deal a few runs is much better than ours") {
  std::mt19937 random(7);
  double worst = 0;
  for (int round = 0; round < 60; ++round) {
    Costs costs(2);
    for (auto& each : costs)
      for (int i = 0; i < 4; ++i) each.push_back(1.0 + static_cast<double>(random() % 100));
    const std::vector<double> shared = {static_cast<double>(random() % 60),
                                        static_cast<double>(random() % 60)};
    const double ours = largest(loads(costs, shared, deal(costs, shared, 3), 3));
    worst = std::max(worst, ours / least_possible(costs, shared, 3));
    // Without what is shared, Graham's bound: 4/3 - 1/(3n).
    const std::vector<double> none = {0, 0};
    const double plain = largest(loads(costs, none, deal(costs, none, 3), 3));
    CHECK(plain <= (4.0 / 3 - 1.0 / 9) * least_possible(costs, none, 3) * (1 + 1e-12));
  }
  CAPTURE(worst);
  CHECK(worst < 1.2);
}

TEST_CASE("every run is in one shard, no shard is empty, and shards are about equal") {
  std::mt19937 random(3);
  for (const int shards : {1, 2, 5, 16, 120}) {
    Costs costs(3);
    for (auto& each : costs)
      for (int i = 0; i < 40; ++i) each.push_back(1.0 + static_cast<double>(random() % 1000));
    const std::vector<double> shared = {500, 0, 1e6};  // of the last, any second shard costs dearly
    const std::vector<int> dealt = deal(costs, shared, shards);
    CHECK(deal(costs, shared, shards) == dealt);
    REQUIRE(dealt.size() == 120);
    const std::set<int> used(dealt.begin(), dealt.end());
    CHECK(used.size() == static_cast<std::size_t>(shards));
    CHECK(*used.rbegin() == shards - 1);
    if (shards > 16) continue;
    const std::vector<double> none = {0, 0, 0};
    const auto load = loads(costs, none, deal(costs, none, shards), shards);
    CHECK(largest(load) < 1.02 * std::accumulate(load.begin(), load.end(), 0.0) / shards);
  }
}

TEST_CASE("runs of a trace keep together where its ground truth costs more than they do") {
  const Costs costs = {{1, 1, 1}, {1, 1, 1}};
  const std::vector<int> apart = deal(costs, {100, 100}, 2);
  CHECK(apart == std::vector<int>{0, 0, 0, 1, 1, 1});
  // Where it costs nothing, only the sums count.
  const std::vector<int> mixed = deal({{6, 1, 1}, {1, 1, 2}}, {0, 0}, 2);
  CHECK(mixed == std::vector<int>{0, 1, 1, 1, 1, 1});
}

TEST_CASE("cost follows tokens, steps, heads, layers and what a policy ranks") {
  const auto resolved = [](const char* policy, std::map<std::string, ParamValue> given = {}) {
    const PolicyInfo& info = PolicyRegistry::instance().find(policy);
    return RunSpec{policy, "cpu", resolve(info, given), policy};
  };
  TraceInfo info;
  info.num_query_heads = 8, info.num_kv_heads = 2, info.head_dim = 128, info.num_tokens = 4096;
  info.positions.resize(64), info.layers = {0, 1};
  const RunSpec streaming = resolved("streaming");
  const double base = predicted_cost(streaming, info, {});
  const auto with = [&](auto change, const RunSpec& run) {
    TraceInfo other = info;
    ReplayOptions replay;
    change(other, replay);
    return predicted_cost(run, other, replay);
  };
  CHECK(with([](TraceInfo& t, ReplayOptions&) { t.num_tokens *= 2; }, streaming) == 2 * base);
  CHECK(with([](TraceInfo& t, ReplayOptions&) { t.num_query_heads *= 2; }, streaming) == 2 * base);
  CHECK(with([](TraceInfo& t, ReplayOptions&) { t.head_dim *= 2; }, streaming) == 2 * base);
  CHECK(with([](TraceInfo&, ReplayOptions& r) { r.layers = {1}; }, streaming) == base / 2);
  CHECK(with([](TraceInfo&, ReplayOptions& r) { r.max_steps = 16; }, streaming) == base / 4);
  CHECK(with([](TraceInfo&, ReplayOptions& r) { r.every_step = 2; }, streaming) == base / 2);
  // Clusters of all keys at once take a time that grows with their square, segments do not.
  const RunSpec all = resolved("cluster_top_k", {{"segment", std::int64_t{0}}});
  const RunSpec parts = resolved("cluster_top_k", {{"segment", std::int64_t{1024}}});
  const auto ten_times = [](TraceInfo& t, ReplayOptions&) { t.num_tokens *= 10; };
  CHECK(with(ten_times, parts) == Approx(10 * predicted_cost(parts, info, {})));
  CHECK(with(ten_times, all) > 30 * predicted_cost(all, info, {}));
  for (const PolicyInfo& policy : PolicyRegistry::instance().all()) {
    INFO(policy.name);
    const double cost = predicted_cost(resolved(policy.name.c_str()), info, {});
    CHECK(cost >= base);
    CHECK(cost < 1000 * base);
  }
  // Parameters by layer cost what each of them does.
  RunSpec tuned = all;
  tuned.by_layer = {{0, all.parameters}, {1, parts.parameters}};
  CHECK(predicted_cost(tuned, info, {}) ==
        Approx((predicted_cost(all, info, {}) + predicted_cost(parts, info, {})) / 2));
}

TEST_CASE("the shards of a sweep are its runs; more of them than runs are refused") {
  const SmallSweep small("toy.h5", "  - {policy: streaming, window: [1, 2, 3, 4, 5]}\n");
  const Sweep sweep = load_sweep(small.config());
  std::vector<Trace> traces;
  traces.push_back(Trace::open(sweep.traces[0]));
  REQUIRE(sweep.runs.size() == 7);
  const auto all = runs_of(std::nullopt, sweep, traces);
  REQUIRE(all.size() == 7);
  for (int count = 1; count <= 7; ++count) {
    std::vector<std::size_t> together;
    for (int index = 1; index <= count; ++index) {
      const auto mine = runs_of(Shard{index, count}, sweep, traces);
      CHECK(!mine.empty());
      CHECK(std::is_sorted(mine.begin(), mine.end()));
      together.insert(together.end(), mine.begin(), mine.end());
    }
    std::sort(together.begin(), together.end());
    CHECK(together == all);
  }
  const std::string message = message_of([&] { runs_of(Shard{1, 8}, sweep, traces); });
  CHECK(contains(message, "comes to 7 runs, fewer than 8 shards"));
}
