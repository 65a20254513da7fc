// The audit of a selection's covered mass, and the guarantee that is built on it.
#include "core/policy/mass_audit.h"

#include <algorithm>
#include <cmath>

#include "core/trace/trace.h"
#include "tests/catch.h"
#include "tests/support/brute_force.h"
#include "tests/support/random_cache.h"
#include "tests/support/refusal.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

Given with(Given given, const std::string& name, ParamValue value) {
  given[name] = std::move(value);
  return given;
}

const Given kFrugal = {{"p1", 0.8},
                       {"p2", 0.4},
                       {"audit", std::int64_t{16}},
                       {"sink", std::int64_t{2}},
                       {"window", std::int64_t{8}},
                       {"tokens_per_cluster", std::int64_t{8}}};

double covered(const RandomCache& cache, int h, const Selection& selection) {
  const auto weights = brute_weights(cache.head(), cache.group(), h);
  double sum = 0;
  for (std::int32_t j : selection.tokens) sum += static_cast<double>(weights[j]);
  for (const ClusterTerm& term : selection.terms)
    for (std::int32_t j : selection.index->members(term.cluster))
      sum += static_cast<double>(weights[j]);
  return sum;
}

// Rows of needle-4k, some steps of it.
std::vector<Row> rows_of(const Given& given, std::int64_t every_step) {
  ReplayOptions options;
  options.every_step = every_step;
  return replay_policy(Trace::open(needle_4k()), "double_p", given, options).rows;
}

}  // namespace

TEST_CASE("everything refined: audited mass 1, no width, nothing sampled") {
  const RandomCache cache({1, 2, 200, 8});
  const Given all = {{"p1", 1.0}, {"p2", 1.0}, {"audit", std::int64_t{16}}};
  const auto out = HeadPolicy("double_p", all, cache.head()).select(cache.group());
  REQUIRE(out.audits.size() == 2);
  for (const MassAudit& audit : out.audits) {
    CHECK(audit.mass == 1);
    CHECK(audit.low == 1);
    CHECK(audit.high == 1);
  }
}

TEST_CASE("off: no audits and no cost; on: keys and variances are charged") {
  const RandomCache cache({1, 2, 300, 8});
  const auto cost = [&](std::int64_t audit, std::size_t audits) {
    const Given given = with(kFrugal, "audit", audit);
    const auto out = HeadPolicy("double_p", given, cache.head()).select(cache.group());
    CHECK(out.audits.size() == audits);
    return out.cost[0][Stage::kEstimate].bytes;
  };
  const double clusters = (300 - 10) / 8, added = cost(16, 2) - cost(0, 0);
  CHECK(added > 4 * clusters / 2);
  CHECK(added <= 4 * clusters / 2 + 16 * 8 * 2);  // a key may be drawn twice and is read once
}

TEST_CASE("the audit is unbiased over 10,000 seeds") {
  // Without terms 1 / mass = 1 + outside / exact: linear in the sampled mass.
  const RandomCache cache({1, 1, 80, 4}, 3);
  const Given given = {{"k", std::int64_t{2}},
                       {"audit", std::int64_t{8}},
                       {"sink", std::int64_t{2}},
                       {"window", std::int64_t{6}},
                       {"tokens_per_cluster", std::int64_t{6}}};
  constexpr int kSeeds = 10000;
  HeadPolicy sampler("cluster_top_k", given, cache.head());
  const double truth = 1 / covered(cache, 0, sampler.select(cache.group()).heads[0]);
  double sum = 0, squares = 0;
  for (int i = 0; i < kSeeds; ++i) {
    QueryGroup group = cache.group();
    group.step = i;  // a seed of its own
    const auto out = sampler.select(group);
    const double x = 1 / out.audits[0].mass;
    sum += x, squares += x * x;
    REQUIRE(out.audits[0].low <= out.audits[0].mass);
    REQUIRE(out.audits[0].mass <= out.audits[0].high);
    REQUIRE(out.audits[0].low >= 0);
    REQUIRE(out.audits[0].high <= 1);
  }
  const double mean = sum / kSeeds, deviation = std::sqrt(squares / kSeeds - mean * mean);
  CHECK(deviation > 1e-4);
  CHECK(std::abs(mean - truth) < 3 * deviation / std::sqrt(kSeeds));
}

TEST_CASE("the audit repeats bit for bit, and its key counts") {
  const RandomCache cache({1, 2, 300, 8});
  const auto audit = [&](PolicyContext context, std::int64_t step) {
    QueryGroup group = cache.group();
    group.step = step;
    return HeadPolicy("double_p", kFrugal, cache.head(), context).select(group).audits[0].mass;
  };
  PolicyContext base, seed, layer, head;
  seed.seed = 1, layer.layer = 1, head.kv_head = 1;
  CHECK(audit(base, 0) == audit(base, 0));
  for (double other : {audit(seed, 0), audit(layer, 0), audit(head, 0), audit(base, 1)})
    CHECK(other != audit(base, 0));
}

TEST_CASE("the interval holds the covered mass in 93 % of needle-4k's steps") {
  int held = 0, count = 0;
  double width = 0;
  for (const Row& row : rows_of({{"audit", std::int64_t{64}}}, 4)) {
    ++count;
    held +=
        row.audited_low <= row.covered_mass + 1e-12 && row.covered_mass <= row.audited_high + 1e-12;
    width += row.audited_high - row.audited_low;
  }
  CHECK(count == 128);
  CHECK(held >= 0.93 * count);
  CHECK(width < 0.1 * count);
}

TEST_CASE("a larger guarantee attends all that a smaller one does; 1 covers everything") {
  const RandomCache cache({1, 2, 400, 8}, 9, 1.2);
  std::vector<Selection> last;
  std::size_t first = 0;
  for (double p : {0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0}) {
    const auto out =
        HeadPolicy("double_p", with(kFrugal, "guarantee", p), cache.head()).select(cache.group());
    for (std::size_t h = 0; h < out.heads.size() && !last.empty(); ++h)
      CHECK(std::includes(out.heads[h].tokens.begin(), out.heads[h].tokens.end(),
                          last[h].tokens.begin(), last[h].tokens.end()));
    if (p > 0)
      for (const MassAudit& audit : out.audits) CHECK(audit.low >= p);
    if (last.empty()) first = out.heads[0].tokens.size();
    last = out.heads;
  }
  CHECK(last[0].tokens.size() > first);
  for (int h = 0; h < 2; ++h) CHECK(covered(cache, h, last[h]) == Approx(1));
}

TEST_CASE("a guarantee lowers needle-4k's violations") {
  const Given given = {{"p1", 0.9}, {"p2", 0.5}, {"audit", std::int64_t{64}}};
  const auto violations = [](const std::vector<Row>& rows) {
    return std::count_if(rows.begin(), rows.end(),
                         [](const Row& row) { return row.covered_mass < 0.95; });
  };
  const auto before = violations(rows_of(given, 4));
  const auto after = violations(rows_of(with(given, "guarantee", 0.95), 4));
  CHECK(before >= 10);
  CHECK(after <= before / 5);
}

TEST_CASE("guarantees that nothing could hold are refused") {
  const RandomCache cache({1, 1, 100, 4});
  const auto refusal = [&](const Given& given) {
    return message_of([&] { HeadPolicy("double_p", given, cache.head()); });
  };
  CHECK(contains(refusal({{"guarantee", 0.9}}), "set audit"));
  CHECK(contains(
      refusal(
          {{"guarantee", 0.9}, {"audit", std::int64_t{64}}, {"outside", std::string("estimate")}}),
      "set outside to drop"));
}
