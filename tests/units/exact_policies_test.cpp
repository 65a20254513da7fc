// Dense, streaming and the oracles on eight tokens, worked by hand.
#include "tests/catch.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// d = 1, scale 1, q = 1: weights 1 8 2 4 2 16 2 1 of 36, for tokens 0 .. 7.
struct EightTokens {
  HandCache cache{1,
                  {0, std::log(8.0f), std::log(2.0f), std::log(4.0f), std::log(2.0f),
                   std::log(16.0f), std::log(2.0f), 0},
                  {1, 2, 3, 4, 5, 6, 7, 8}};
  float q = 1;

  Selection select(const std::string& policy, const Given& given) {
    HeadPolicy head(policy, given, cache.head());
    return head.select(QueryGroup{&q, 1, 1, 1.0, 0}).heads[0];
  }
  Tokens tokens(const std::string& policy, const Given& given) {
    return select(policy, given).tokens;
  }
};

Given zone(std::int64_t sink, std::int64_t window, Given more = {}) {
  more["sink"] = sink, more["window"] = window;
  return more;
}

}  // namespace

TEST_CASE("dense attends everything and promises it") {
  EightTokens eight;
  const auto s = eight.select("dense", {});
  CHECK(s.tokens == Tokens{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(s.terms.empty());
  CHECK(s.target_p == 1);
}

TEST_CASE("streaming attends sinks and window, and promises nothing") {
  EightTokens eight;
  CHECK(eight.tokens("streaming", zone(2, 3)) == Tokens{0, 1, 5, 6, 7});
  CHECK(eight.tokens("streaming", zone(0, 0)).empty());
  CHECK(eight.tokens("streaming", zone(6, 6)) == Tokens{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(std::isnan(eight.select("streaming", zone(1, 1)).target_p));
}

TEST_CASE("oracle_top_k: zone first, then by weight, ties to the earlier token") {
  EightTokens eight;
  const auto chosen = [&](ParamValue budget, std::int64_t sink, std::int64_t window) {
    return eight.tokens("oracle_top_k", zone(sink, window, {{"budget", budget}}));
  };
  CHECK(chosen(i64(3), 0, 0) == Tokens{1, 3, 5});     // 16 8 4
  CHECK(chosen(i64(4), 0, 0) == Tokens{1, 2, 3, 5});  // the first of three twos
  CHECK(chosen(i64(4), 1, 1) == Tokens{0, 1, 5, 7});  // the zone counts towards the budget
  CHECK(chosen(i64(2), 1, 1) == Tokens{0, 7});        // the zone alone
  CHECK(chosen(i64(2), 1, 3) == Tokens{0, 5, 6, 7});  // a budget below the zone is raised to it
  CHECK(chosen(i64(0), 1, 2) == Tokens{0, 6, 7});
  CHECK(chosen(0.5, 0, 0) == Tokens{1, 2, 3, 5});  // half of eight
  CHECK(chosen(0.01, 0, 0) == Tokens{5});          // a share above 0 is one token at least
  CHECK(chosen(1.0, 0, 0).size() == 8);            // all of them, where 1 is one
  CHECK(chosen(i64(1), 0, 0) == Tokens{5});
  CHECK(chosen(i64(100), 0, 0).size() == 8);
}

TEST_CASE("oracle_top_p: the smallest set, what is forced counted in") {
  EightTokens eight;
  const auto chosen = [&](double p, std::int64_t sink, std::int64_t window) {
    return eight.tokens("oracle_top_p", zone(sink, window, {{"p", p}}));
  };
  CHECK(chosen(0.40, 0, 0) == Tokens{5});              // 16/36 = 0.444
  CHECK(chosen(0.60, 0, 0) == Tokens{1, 5});           // 24/36 = 0.667
  CHECK(chosen(0.75, 0, 0) == Tokens{1, 3, 5});        // 28/36 = 0.778
  CHECK(chosen(0.80, 0, 0) == Tokens{1, 2, 3, 5});     // 30/36 = 0.833
  CHECK(chosen(0.80, 1, 1) == Tokens{0, 1, 3, 5, 7});  // 1 + 1 + 28 = 30: no two is needed
  CHECK(chosen(0.02, 1, 1) == Tokens{0, 7});           // the zone holds 2/36 already
  CHECK(chosen(1.00, 0, 0).size() == 8);
  CHECK(eight.select("oracle_top_p", zone(0, 0, {{"p", 0.6}})).target_p == 0.6);
}

TEST_CASE("oracles choose for every head of the group on its own") {
  EightTokens eight;
  const float q[2] = {1, -1};  // the second prefers what the first despises: weights 1/x
  HeadPolicy head("oracle_top_k", zone(0, 0, {{"budget", i64(2)}}), eight.cache.head());
  const auto out = head.select(QueryGroup{q, 2, 1, 1.0, 0});
  CHECK(out.heads[0].tokens == Tokens{1, 5});
  CHECK(out.heads[1].tokens == Tokens{0, 7});
}
