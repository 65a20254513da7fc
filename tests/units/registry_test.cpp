// Does the registry know every policy once, and say what there is?
#include "core/policy/registry.h"

#include <set>

#include "tests/support/message.h"

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

TEST_CASE("conditions between parameters are checked on resolving") {
  const PolicyInfo& policy = PolicyRegistry::instance().find("double_p");
  const auto message = message_of([&] { resolve(policy, {{"p1", 0.5}, {"p2", 0.6}}); });
  CHECK(contains(message, "double_p"));
  CHECK(contains(message, "p2 (0.6)"));
  CHECK(contains(message, "p1 (0.5)"));
  CHECK(resolve(policy, {{"p1", 0.5}, {"p2", 0.5}}).real("p2") == 0.5);
  CHECK_THROWS_AS(resolve(policy, {{"p1", 0.5}}), ParameterError);  // the default p2 is 0.70
}
