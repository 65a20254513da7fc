// Does every registered policy, whoever wrote it, keep the invariants of a step on hostile caches?
#include <limits>
#include <set>

#include "core/index/cluster_index.h"
#include "core/metrics/step_metrics.h"
#include "tests/catch.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// Everything that is wrong with one head's selection, as text; empty where nothing is.
std::string faults_of(const Selection& s, std::int64_t visible) {
  std::string faults;
  const auto expect = [&](bool holds, const char* what) {
    if (!holds) faults += std::string(what) + "; ";
  };
  std::set<std::int32_t> exact;
  std::int32_t previous = -1;
  for (std::int32_t j : s.tokens) {
    expect(j > previous, "tokens sorted and unique");
    expect(j >= 0 && j < visible, "tokens in range and visible");
    exact.insert(j), previous = j;
  }
  expect(s.log_weights.empty() || s.log_weights.size() == s.tokens.size(), "a weight per token");
  for (float w : s.log_weights) expect(std::isfinite(w), "weights finite");
  expect(s.terms.empty() || s.index, "terms come with their index");
  previous = -1;
  for (const ClusterTerm& term : s.terms) {
    expect(term.cluster > previous, "terms ascending and unique");
    previous = term.cluster;
    expect(std::isfinite(term.log_mass) && std::isfinite(term.value_shift), "masses finite");
    if (!s.index || term.cluster < 0 || term.cluster >= s.index->num_clusters()) {
      expect(false, "terms in range");
      continue;
    }
    expect(s.index->size(term.cluster) > 0, "terms have members");
    for (std::int32_t j : s.index->members(term.cluster)) {
      expect(j < visible, "members visible");
      expect(!exact.count(j), "members not attended exactly too");
    }
  }
  for (float x : s.shift) expect(std::isfinite(x), "shift finite");
  expect(std::isnan(s.target_p) || (s.target_p > 0 && s.target_p <= 1), "target is a share");
  return faults;
}

std::string faults_of(const RandomCache& cache, const KvCacheView& view, const StepResult& result,
                      int head) {
  const int d = cache.shape.head_dim;
  const Selection& s = result.selections[head];
  std::string faults = faults_of(s, view.length);
  const auto expect = [&](bool holds, const char* what) {
    if (!holds) faults += std::string(what) + "; ";
  };
  if (!faults.empty()) return faults;
  const float* output = result.output.data() + head * d;
  for (int i = 0; i < d; ++i) expect(std::isfinite(output[i]), "output finite");
  const bool attends = !s.tokens.empty() || !s.terms.empty();
  expect(attends ? std::isfinite(result.log_sum_exp[head])
                 : result.log_sum_exp[head] == -std::numeric_limits<double>::infinity(),
         "log-sum-exp finite unless nothing is attended");
  for (const Work& work : result.cost[head].stages)
    expect(std::isfinite(work.bytes) && work.bytes >= 0 && std::isfinite(work.flops) &&
               work.flops >= 0,
           "cost finite and not negative");
  const int group = cache.shape.group, kv = head / group;
  const auto truth = GroundTruth::of(view.head(kv), cache.block().group(kv, cache.shape.kv_heads));
  const auto m = measure(truth, head % group, s, output, result.log_sum_exp[head]);
  expect(m.exact_mass >= 0 && m.exact_mass <= 1, "exact mass is a share");
  expect(m.covered_mass >= m.exact_mass && m.covered_mass <= 1, "covered mass holds the exact one");
  expect(m.oracle_tokens <= m.exact_tokens, "no fewer tokens than the oracle for their mass");
  expect(!std::isnan(m.output_error) && !std::isnan(m.cosine), "metrics are numbers");
  return faults;
}

struct Scenario {
  std::string name;
  CacheShape shape;
  Given given;  ///< of these, what the policy has
  void (*change)(RandomCache&) = nullptr;
  std::int64_t prefill = 0;  ///< tokens at prefill; 0 = all
  std::int64_t by = 1;       ///< then so many at a time
};

const Given kSmall = {{"sink", i64(2)}, {"window", i64(4)}, {"tokens_per_cluster", i64(4)}};
Given with(Given given, const Given& more) {
  for (const auto& [name, value] : more) given[name] = value;
  return given;
}

void all_equal(RandomCache& c) { std::fill(c.keys.begin(), c.keys.end(), 0.5f); }
void all_zero(RandomCache& c) { std::fill(c.keys.begin(), c.keys.end(), 0.0f); }
void dominant(RandomCache& c) {  // token 20 of every head: a logit in the hundreds
  for (int h = 0; h < c.shape.kv_heads; ++h)
    for (int i = 0; i < c.shape.head_dim; ++i)
      c.keys[(h * c.shape.tokens + 20) * c.shape.head_dim + i] =
          200 * c.queries[h * c.shape.group * c.shape.head_dim + i];
}
void huge_values(RandomCache& c) {
  for (std::size_t i = 0; i < c.values.size(); ++i) c.values[i] *= i % 3 ? 1e30f : 1e-30f;
}
void two_places(RandomCache& c) {  // two distinct keys: most clusters have no member
  for (std::size_t i = 0; i < c.keys.size(); ++i)
    c.keys[i] = (i / c.shape.head_dim) % 2 ? 1.0f : -1.0f;
}
void zero_query(RandomCache& c) { std::fill(c.queries.begin(), c.queries.end(), 0.0f); }

std::vector<Scenario> scenarios() {
  std::vector<Scenario> all = {
      {"one key", {1, 1, 1, 16}, {}},
      {"two keys", {2, 2, 2, 16}, kSmall},
      {"fewer keys than sink and window", {2, 2, 40, 16}, {}},
      {"k >= n",
       {2, 2, 60, 16},
       with(kSmall, {{"budget", i64(1000)}, {"k", i64(1000)}, {"clusters", i64(1000)}})},
      {"no budget", {2, 2, 60, 16}, with(kSmall, {{"budget", i64(0)}, {"k", i64(0)}})},
      {"a budget below sink and window",
       {2, 2, 60, 16},
       with(kSmall, {{"budget", i64(3)}, {"page_size", i64(2)}})},
      {"a share as budget", {2, 2, 60, 16}, with(kSmall, {{"budget", 0.3}, {"k", 0.3}})},
      {"p = 1", {2, 2, 80, 16}, with(kSmall, {{"p", 1.0}, {"p1", 1.0}, {"p2", 1.0}})},
      {"p tiny", {2, 2, 80, 16}, with(kSmall, {{"p", 1e-12}, {"p1", 1e-12}, {"p2", 1e-12}})},
      {"no sink, no window", {2, 2, 80, 16}, with(kSmall, {{"sink", i64(0)}, {"window", i64(0)}})},
      {"all keys equal", {2, 2, 80, 16}, kSmall, all_equal},
      {"all keys zero", {2, 2, 80, 16}, kSmall, all_zero},
      {"a query of zero", {2, 2, 80, 16}, kSmall, zero_query},
      {"one dominant key", {2, 2, 80, 16}, kSmall, dominant},
      {"clusters without members", {2, 2, 80, 16}, kSmall, two_places},
      {"values of huge norm", {2, 2, 80, 16}, kSmall, huge_values},
      {"appends one by one", {2, 2, 60, 16}, kSmall, nullptr, 30, 1},
      {"appends from one key on", {1, 2, 40, 16}, kSmall, nullptr, 1, 1},
      {"clustered anew each 3 tokens",
       {2, 2, 60, 16},
       with(kSmall, {{"recluster_every", i64(3)}}),
       nullptr,
       30,
       1},
      {"clustered anew in segments",
       {1, 2, 70, 16},
       with(kSmall, {{"recluster_every", i64(5)}, {"segment", i64(16)}}),
       nullptr,
       1,
       7},
  };
  for (int d : {64, 80, 128, 256})
    all.push_back({"head_dim " + std::to_string(d), {1, 2, 90, d}, kSmall});
  for (int g : {1, 4, 8}) all.push_back({"group of " + std::to_string(g), {2, g, 90, 16}, kSmall});
  return all;
}

// What of `given` this policy declares, in its type, and within its range.
Given accepted(const PolicyInfo& policy, const Given& given) {
  Given own;
  for (const ParamSpec& spec : policy.parameters)
    if (const auto it = given.find(spec.name); it != given.end()) {
      try {
        Parameters(policy.name, {spec}, {{spec.name, it->second}});
        own.insert(*it);
      } catch (const ParameterError&) {  // a parameter of that name with another range
      }
    }
  return own;
}

}  // namespace

TEST_CASE("every policy keeps its invariants on every hostile cache") {
  for (const PolicyInfo& policy : PolicyRegistry::instance().all())
    for (const Scenario& scenario : scenarios()) {
      INFO(policy.name << ", " << scenario.name);
      RandomCache cache(scenario.shape, 3);
      if (scenario.change) scenario.change(cache);
      const auto decoder = make_decoder(policy.name, accepted(policy, scenario.given));
      const std::int64_t n = scenario.shape.tokens;
      std::int64_t length = scenario.prefill > 0 ? scenario.prefill : n;
      decoder->prefill(cache.view().first(length));
      std::string faults;
      while (faults.empty()) {
        const KvCacheView view = cache.view().first(length);
        const StepResult result = decoder->step(cache.block(), Detail::kSelections);
        for (int h = 0; h < scenario.shape.kv_heads * scenario.shape.group; ++h)
          faults += faults_of(cache, view, result, h);
        if (length == n) break;
        length = std::min(n, length + scenario.by);
        decoder->append(cache.view().first(length));
      }
      CHECK(faults == "");
      const IndexCost index = decoder->index_cost();
      CHECK((std::isfinite(index.memory_bytes) && index.memory_bytes >= 0));
      CHECK((std::isfinite(index.build.flops) && index.build.flops >= 0));
    }
}

TEST_CASE("every switch of every policy keeps the invariants") {
  for (const PolicyInfo& policy : PolicyRegistry::instance().all())
    for (const ParamSpec& spec : policy.parameters) {
      std::vector<ParamValue> values(spec.choices.begin(), spec.choices.end());
      if (spec.type == ParamSpec::Type::kFlag) values = {true, false};
      for (const ParamValue& value : values) {
        INFO(policy.name << ", " << spec.name << " = " << to_text(value));
        const RandomCache cache({2, 3, 150, 16}, 5);
        // A calibration is of a promise of error; one query is enough to learn a median from.
        const Given promise = {{"stop", std::string("error")},
                               {"outside", std::string("estimate")},
                               {"alpha", 0.5},
                               {"calibration_queries", i64(1)}};
        const bool promises = spec.name == "calibration" && policy.name == "double_p" &&
                              value != ParamValue(std::string("none"));
        Given given =
            with(accepted(policy, promises ? with(kSmall, promise) : kSmall), {{spec.name, value}});
        if (spec.name == "objective") given["order"] = std::string("error");  // what it weighs
        const auto decoder = make_decoder(policy.name, given);
        KvCacheView view = cache.view();  // with a prompt of one query, for what learns from it
        view.prefill_queries = {cache.queries.data(), 1, 6, 16, 6 * 16};
        decoder->prefill(view);
        const StepResult result = decoder->step(cache.block(), Detail::kSelections);
        std::string faults;
        for (int h = 0; h < 6; ++h) faults += faults_of(cache, cache.view(), result, h);
        CHECK(faults == "");
      }
    }
}

TEST_CASE("no policy accepts a share of the mass outside (0, 1]") {
  int shares = 0;
  for (const PolicyInfo& policy : PolicyRegistry::instance().all())
    for (const ParamSpec& spec : policy.parameters) {
      if (spec.name != "p" && spec.name != "p1" && spec.name != "p2") continue;
      ++shares;
      for (double p : {0.0, -0.1, 1.1}) {
        INFO(policy.name << ", " << spec.name << " = " << p);
        try {
          resolve(policy, {{spec.name, p}});
          FAIL_CHECK("accepted");
        } catch (const ParameterError& error) {
          CHECK(error.parameter == spec.name);
        }
      }
    }
  CHECK(shares >= 4);  // oracle_top_p, cluster_top_p, double_p's two
}

TEST_CASE("a step has no memory of the steps before it, and of what it reports") {
  for (const PolicyInfo& policy : PolicyRegistry::instance().all()) {
    INFO(policy.name);
    const RandomCache cache({2, 2, 120, 16, 2}, 9);
    const auto once = make_decoder(policy.name), twice = make_decoder(policy.name);
    once->prefill(cache.view());
    twice->prefill(cache.view());
    twice->step(cache.block(0), Detail::kOutput);
    twice->step(cache.block(1), Detail::kSelections);
    const auto a = once->step(cache.block(0), Detail::kSelections);
    const auto b = twice->step(cache.block(0), Detail::kOutput);
    CHECK(a.output == b.output);
    CHECK(a.log_sum_exp == b.log_sum_exp);
    CHECK(b.selections.empty());
  }
}
