// Does the registry know every policy once, and say what there is?
#include "core/policy/registry.h"

#include <set>

#include "tests/support/message.h"
#include "tests/support/random_cache.h"

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
  CHECK(fixed_groups == "retroinfer");
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
    if (spec.share == ParamSpec::Share::kAlways) shares += spec.name + " ";
    if (spec.share == ParamSpec::Share::kBelowOne) budgets += spec.name + " ";
  }
  CHECK(shares == "p place_1 place_2 ");
  CHECK(budgets == "head sample ");
  for (const PolicyInfo& policy : PolicyRegistry::instance().all())
    for (const ParamSpec& spec : policy.parameters) {
      INFO(policy.name << ": " << spec.name);
      // No budget goes without the mark.
      if (contains(spec.meaning, "below 1")) CHECK(spec.share == ParamSpec::Share::kBelowOne);
      if (spec.share == ParamSpec::Share::kAlways) CHECK(spec.high == 1);
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
