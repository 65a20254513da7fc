// A budget's share and number are told apart by spelling, in code, in parameters and in sweeps; and
// whatever a budget is, the sink and the window are attended.
#include <filesystem>

#include "core/policy/exact_zone.h"
#include "experiments/config/sweep.h"
#include "tests/support/message.h"
#include "tests/support/program.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"
#include "tests/support/temp_dir.h"

using namespace doublep;
using namespace doublep::test;

namespace {

std::vector<RunSpec> runs_of(const std::string& policies) {
  const TempDir folder;
  const auto file = std::filesystem::path(folder.path()) / "s.yaml";
  spill(file, "traces: [" + needle_4k() + "]\n" + policies);
  return load_sweep(file.string()).runs;
}

std::vector<std::string> budgets_of(const std::string& value) {
  std::vector<std::string> texts;
  for (const RunSpec& run : runs_of("policies:\n  - {policy: loki, budget: " + value + "}\n"))
    texts.push_back(to_text(run.parameters.values().at("budget")));
  return texts;
}

}  // namespace

TEST_CASE("a share of all, at least one; a number, at most all") {
  CHECK(Budget::share(0.25).of(100) == 25);
  CHECK(Budget::share(0.29).of(100) == 29);  // 0.29 * 100 is 28.999... in float64
  CHECK(Budget::share(0.999).of(10) == 9);
  CHECK(Budget::share(1).of(100) == 100);
  CHECK(Budget::share(0.25).of(3) == 1);
  CHECK(Budget::share(0.25).of(0) == 0);
  CHECK(Budget::share(0).of(100) == 0);
  CHECK(Budget::count(1).of(100) == 1);
  CHECK(Budget::count(64).of(100) == 64);
  CHECK(Budget::count(std::int64_t{1} << 62).of(100) == 100);
}

TEST_CASE("a budget in pages: whole ones, one at least, and the partial one with all") {
  CHECK(Budget::count(64).pages(1000, 16) == 4);
  CHECK(Budget::count(79).pages(1000, 16) == 4);
  CHECK(Budget::count(0).pages(1000, 16) == 0);
  CHECK(Budget::count(1000).pages(1000, 16) == 63);
  CHECK(Budget::share(0.1).pages(40, 16) == 1);  // 4 tokens of a page of 16
  CHECK(Budget::share(1).pages(40, 16) == 3);
  CHECK(Budget::share(0).pages(40, 16) == 0);
}

TEST_CASE("budget parameters keep the spelling, in values, JSON and refusals") {
  const ParamSpecs specs = {budget("many", Budget::count(1024), "tokens")};
  const auto given = [&](ParamValue value) { return Parameters("toy", specs, {{"many", value}}); };
  CHECK(given(i64(1)).budget("many").of(50) == 1);
  CHECK(given(1.0).budget("many").of(50) == 50);
  CHECK(given(i64(1)).to_json() == R"({"many": 1})");
  CHECK(given(1.0).to_json() == R"({"many": 1.0})");
  CHECK(given(0.25).to_json() == R"({"many": 0.25})");
  CHECK(Parameters("toy", specs, {}).to_json() == R"({"many": 1024})");
  CHECK(specs[0].type_name() == "budget");
  for (const ParamValue& bad : std::vector<ParamValue>{1024.0, 1.5, -0.1, i64(-1), true,
                                                       std::string("most"), std::nan("")}) {
    const auto message = message_of([&] { given(bad); });
    INFO(message);
    CHECK(contains(message, "policy toy: many is " + to_text(bad)));
    CHECK(contains(message, "0.25 or 25%"));
    CHECK(contains(message, "a number such as 64"));
  }
}

TEST_CASE("shares and numbers in sweeps are as they are written") {
  CHECK(budgets_of("25%") == std::vector<std::string>{"0.25"});
  CHECK(budgets_of("[0.29, 29%, 100%]") ==
        std::vector<std::string>{"0.29", "1.0"});  // the same share, once
  CHECK(budgets_of("[64, 0.25]") == std::vector<std::string>{"64", "0.25"});
  CHECK(budgets_of("[1, 2]") == std::vector<std::string>{"1", "2"});
  CHECK(budgets_of("{from: 0.25, to: 1, step: 0.25}") ==
        std::vector<std::string>{"0.25", "0.5", "0.75", "1.0"});
  CHECK(budgets_of("{from: 50%, to: 1.0, count: 2}") == std::vector<std::string>{"0.5", "1.0"});
  CHECK(budgets_of("{from: 0.0, to: 1.0, count: 2}") == std::vector<std::string>{"0.0", "1.0"});
  CHECK(budgets_of("{from: 1, to: 100, count: 3, scale: log}") ==
        std::vector<std::string>{"1", "10", "100"});
}

TEST_CASE("1 in a list of shares is refused where it stands, in entries and defaults") {
  const auto refusal = [](const std::string& text) { return message_of([&] { runs_of(text); }); };
  CHECK(contains(refusal("policies:\n  - policy: loki\n    budget: [0.25, 1]\n"),
                 "s.yaml:4:20: policies[0].budget[1]: 1 in a list of shares"));
  CHECK(contains(refusal("defaults: {budget: [1, 0.5]}\npolicies: [{policy: quest}]\n"),
                 ":2:21: defaults.budget[0]: 1 in a list of shares"));
  CHECK(contains(refusal("policies: [{policy: loki, budget: {from: 0.5, to: 1.5, count: 3}}]\n"),
                 "budget is 1.5"));
  CHECK(runs_of("policies: [{policy: double_p, p2: [0.5, 0.9], p1: 1}]\n").size() == 2);
}

TEST_CASE("a budget below one page is refused, the base's of twilight too") {
  for (const auto& [policy, parameter] :
       {std::pair<std::string, std::string>{"quest", "budget"}, {"twilight", "base_budget"}}) {
    const PolicyInfo& info = PolicyRegistry::instance().find(policy);
    try {
      resolve(info, {{parameter, i64(15)}});
      FAIL_CHECK("accepted");
    } catch (const ParameterError& e) {
      CHECK(e.parameter == parameter);
      CHECK(contains(e.what(), "policy " + policy));
      CHECK(contains(e.what(), "budget is 15, less than a page of 16"));
    }
    CHECK(resolve(info, {{parameter, i64(0)}}).budget(parameter).of(100) == 0);
    CHECK(resolve(info, {{parameter, 0.001}}).budget(parameter).of(100) == 1);
  }
}

TEST_CASE("sink and window are attended by every policy, at every length and budget") {
  const std::vector<std::string> budgets = {"budget", "base_budget", "k", "heavy"};
  int zones = 0;
  for (const PolicyInfo& policy : PolicyRegistry::instance().all()) {
    const auto declares = [&](const std::string& name) {
      for (const ParamSpec& spec : policy.parameters)
        if (spec.name == name) return true;
      return false;
    };
    if (!declares("sink")) continue;
    ++zones;
    for (const ParamValue& budget : std::vector<ParamValue>{std::string("default"), i64(0), 0.01})
      for (const auto& [sink, window] : {std::pair{2, 3}, {0, 4}, {4, 0}, {4, 64}})
        for (std::int64_t n : {1, 2, 3, 5, 8, 12, 40, 150}) {
          Given given = {{"sink", i64(sink)}, {"window", i64(window)}};
          if (budget != ParamValue(std::string("default")))
            for (const std::string& name : budgets)
              if (declares(name)) given[name] = budget;
          if (declares("p")) given["p"] = 0.01;
          INFO(policy.name << ", " << n << " tokens, " << sink << " and " << window << ", budget "
                           << to_text(budget));
          const RandomCache cache({1, 2, 160, 16}, 7);
          const auto decoder = make_decoder(policy.name, given);
          decoder->prefill(cache.view().first(std::max<std::int64_t>(1, n - 2)));
          decoder->append(cache.view().first(n));
          const auto result = decoder->step(cache.block(), Detail::kSelections);
          bool all = true;
          for (const Selection& head : result.selections)
            ExactZone::of(sink, window, n).for_each([&](std::int32_t j) {
              const auto at = std::lower_bound(head.tokens.begin(), head.tokens.end(), j);
              all &= at != head.tokens.end() && *at == j;
            });
          CHECK(all);
        }
  }
  CHECK(zones >= 15);
}
