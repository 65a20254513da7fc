// Does the registry know every policy once, and say what there is?
#include "core/policy/registry.h"

#include <set>

#include "tests/support/message.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {
PolicyInfo toy(const std::string& name) {
  PolicyInfo info;
  info.name = name;
  return info;
}
}  // namespace

TEST_CASE("a duplicate name is refused and changes nothing") {
  PolicyRegistry registry;
  registry.add(toy("one"));
  registry.add(toy("two"));
  CHECK(contains(message_of([&] { registry.add(toy("one")); }), "one"));
  CHECK(registry.all().size() == 2);
  CHECK(registry.find("two").name == "two");
}

TEST_CASE("an unknown name lists what there is") {
  PolicyRegistry registry;
  registry.add(toy("one"));
  registry.add(toy("two"));
  const auto message = message_of([&] { registry.find("three"); });
  CHECK(contains(message, "three"));
  CHECK(contains(message, "one, two"));
}

TEST_CASE("the built-in policies are complete and describe themselves") {
  const auto& registry = PolicyRegistry::instance();
  for (const char* name : {"dense", "streaming", "oracle_top_k", "oracle_top_p", "cluster_top_k",
                           "cluster_top_p", "double_p"})
    CHECK(registry.find(name).name == name);
  std::set<std::string> names;
  for (const PolicyInfo& policy : registry.all()) {
    INFO(policy.name);
    CHECK(names.insert(policy.name).second);
    CHECK(!policy.meaning.empty());
    CHECK(!policy.source.empty());
    CHECK(policy.meaning.find('\n') == std::string::npos);
    for (const ParamSpec& spec : policy.parameters) {
      CHECK(!spec.meaning.empty());
      CHECK(!spec.range_text().empty());
    }
    REQUIRE(policy.create);
    CHECK(policy.create(resolve(policy, {}), {}) != nullptr);  // the defaults are legal
  }
}

TEST_CASE("traits say what a policy's rule and index do") {
  const auto& registry = PolicyRegistry::instance();
  std::string dense, fixed_groups;
  for (const PolicyInfo& policy : registry.all()) {
    INFO(policy.name);
    const PolicyTraits& traits = policy.traits;
    const Parameters defaults = resolve(policy, {});
    if (traits.dense) dense += policy.name;
    if (policy.ranks_groups(defaults)) fixed_groups += policy.name;
    // What has an index to search has an index to speak of, and the other way round.
    const bool searches_clusters = traits.search == SearchKind::kClusters;
    CHECK(searches_clusters == defaults.has("tokens_per_cluster"));
    CHECK((traits.search == SearchKind::kPages) <= defaults.has("page_size"));
    if (traits.dense) CHECK(traits.search == SearchKind::kNone);
  }
  CHECK(dense == "dense");
  CHECK(fixed_groups == "pqcacheretroinfer");
  const PolicyInfo& ours = registry.find("double_p");
  CHECK(ours.ranks_groups(resolve(ours, {{"gqa", std::string("group_sum")}})));
  CHECK(!ours.ranks_groups(resolve(ours, {{"gqa", std::string("group_union")}})));
}

TEST_CASE("growing is measured: an index that grows is charged less than one that is built anew") {
  const RandomCache cache({.kv_heads = 1, .group = 1, .tokens = 600});
  KvHead prompt = cache.head();
  prompt.length = 500;
  for (const char* name : {"double_p", "cluster_top_p", "tactic", "retroinfer", "cluster_kv"}) {
    INFO(name);
    const PolicyInfo& policy = PolicyRegistry::instance().find(name);
    const auto made = policy.create(resolve(policy, {{"recluster_every", std::int64_t{32}}}), {});
    made->prefill(prompt);
    const double first = made->index_cost().build.flops;
    made->append(cache.head());
    CHECK((made->index_cost().build.flops - first < first / 2) == policy.traits.grows);
  }
}

TEST_CASE("parameters that are shares say so") {
  std::string shares, budgets;
  for (const ParamSpec& spec : PolicyRegistry::instance().find("tactic").parameters) {
    if (spec.share) shares += spec.name + " ";
    if (spec.type == ParamSpec::Type::kBudget) budgets += spec.name + " ";
  }
  CHECK(shares == "p place_1 place_2 ");
  CHECK(budgets == "head sample ");
  for (const PolicyInfo& policy : PolicyRegistry::instance().all())
    for (const ParamSpec& spec : policy.parameters) {
      INFO(policy.name << ": " << spec.name);
      if (spec.share) CHECK(spec.high == 1);
      if (spec.name == "budget") CHECK(spec.type == ParamSpec::Type::kBudget);
    }
}

TEST_CASE("values that make no sense together are refused, with the parameter to change") {
  const auto refusal = [](const std::string& policy, const Given& given) {
    try {
      resolve(PolicyRegistry::instance().find(policy), given);
    } catch (const ParameterError& e) {
      return e.parameter + ": " + e.what();
    }
    return std::string();
  };
  CHECK(contains(refusal("retroinfer", {{"retrieval", 0.8}, {"estimation", 0.3}}),
                 "estimation: policy retroinfer: retrieval (0.8) and estimation (0.3)"));
  CHECK(refusal("retroinfer", {{"retrieval", 0.1}, {"estimation", 0.9}}).empty());
  CHECK(contains(refusal("tactic", {{"place_1", 0.7}}),
                 "place_2: policy tactic: place_2 (0.6) lies before place_1 (0.7)"));
  CHECK(refusal("tactic", {{"place_1", 0.6}}).empty());
}

TEST_CASE("what reads every key to choose says so") {
  for (const PolicyInfo& policy : PolicyRegistry::instance().all()) {
    INFO(policy.name);
    CHECK(policy.oracle_priced(resolve(policy, {})) ==
          (policy.name == "oracle_top_k" || policy.name == "oracle_top_p" ||
           policy.name == "vattention"));
  }
}

TEST_CASE("what head_dim bounds is refused once head_dim is known") {
  const RandomCache cache({1, 2, 40, 16});
  for (const auto& bounded :
       std::vector<std::pair<std::string, std::string>>{{"loki", "rank"},
                                                        {"double_sparsity", "channels"},
                                                        {"twilight", "channels"},
                                                        {"pqcache", "subvectors"}}) {
    const std::string &policy = bounded.first, &parameter = bounded.second;
    INFO(policy);
    const PolicyInfo& info = PolicyRegistry::instance().find(policy);
    const auto decode = [&](std::int64_t value) {
      make_decoder(policy, {{parameter, value}})->prefill(cache.view());
    };
    decode(16);
    const auto message = message_of([&] { decode(17); });
    CHECK(contains(
        message, "policy " + policy + ": " + parameter + " is 17, but the keys have head_dim 16"));
    CHECK_THROWS_AS(check_fits(info, resolve(info, {{parameter, std::int64_t{17}}}), 16),
                    ParameterError);
  }
}

TEST_CASE("conditions between parameters are checked on resolving") {
  const PolicyInfo& policy = PolicyRegistry::instance().find("double_p");
  const auto message = message_of([&] { resolve(policy, {{"p1", 0.5}, {"p2", 0.6}}); });
  CHECK(contains(message, "double_p"));
  CHECK(contains(message, "p2 (0.6)"));
  CHECK(contains(message, "p1 (0.5)"));
  CHECK(resolve(policy, {{"p1", 0.5}, {"p2", 0.5}}).real("p2") == 0.5);
  CHECK_THROWS_AS(resolve(policy, {{"p1", 0.5}}), ParameterError);  // the default p2 is 0.70
}
