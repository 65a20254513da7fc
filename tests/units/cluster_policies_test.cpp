// The cluster policies and every switch of Double-P on three clusters of two tokens, by hand.
#include "core/attention/attend.h"
#include "tests/catch.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// Tokens 0 (sink) and 7 (window) of weight 1; clusters {1 2}, {3 4}, {5 6} of equal keys, so of
// mass 2 * 6 = 12, 2 * 3 = 6, 2 * 1 = 2 of 20 for q = 1 (shares 0.6, 0.3, 0.1), and for q = -1 of
// mass 1/3, 2/3, 2 of 3 (shares 0.111, 0.222, 0.667). d = 1, scale 1.
struct ThreeClusters {
  HandCache cache{1,
                  {0, std::log(6.0f), std::log(6.0f), std::log(3.0f), std::log(3.0f), 0, 0, 0},
                  {10, 1, 2, 3, 5, 7, 9, 20}};
  float q[2] = {1, -1};
  GroupSelection select(const std::string& policy, Given given, int heads = 1) {
    given["sink"] = given["window"] = i64(1);
    given["clusters"] = i64(3);
    HeadPolicy head(policy, given, cache.head());
    return head.select(QueryGroup{q, heads, 1, 1.0, 0});
  }
  float output(const Selection& s) {
    float out;
    double lse;
    attend(cache.head(), QueryGroup{q, 1, 1, 1.0, 0}, {&s, 1}, &out, &lse);
    return out;
  }
};

Tokens terms_of(const Selection& s) {
  Tokens clusters;
  for (const ClusterTerm& term : s.terms) clusters.push_back(term.cluster);
  return clusters;
}

}  // namespace

TEST_CASE("cluster_top_k: the k heaviest clusters, exactly") {
  ThreeClusters three;
  const auto tokens = [&](ParamValue k) {
    return three.select("cluster_top_k", {{"k", k}}).heads[0].tokens;
  };
  CHECK(tokens(i64(0)) == Tokens{0, 7});
  CHECK(tokens(i64(1)) == Tokens{0, 1, 2, 7});
  CHECK(tokens(i64(2)) == Tokens{0, 1, 2, 3, 4, 7});
  CHECK(tokens(0.5) == Tokens{0, 1, 2, 7});  // a share: 1.5 of 3 clusters
  CHECK(tokens(i64(9)).size() == 8);
}

TEST_CASE("cluster_top_p: the smallest set of clusters, exactly") {
  ThreeClusters three;
  const auto tokens = [&](double p) {
    return three.select("cluster_top_p", {{"p", p}}).heads[0].tokens;
  };
  CHECK(tokens(0.5) == Tokens{0, 1, 2, 7});
  CHECK(tokens(0.7) == Tokens{0, 1, 2, 3, 4, 7});
  CHECK(tokens(0.95).size() == 8);
}

TEST_CASE("double_p: refined, estimated and dropped clusters") {
  ThreeClusters three;
  // (0.95, 0.70): kept 0 1 2 (0.9 < 0.95), refined 0 1 (0.6 < 0.7); one term of mass 2, value 8.
  // (10 + 6 (1 + 2) + 3 (3 + 5) + 2 * 8 + 20) / (1 + 12 + 6 + 2 + 1) = 88 / 22.
  auto s = three.select("double_p", {}).heads[0];
  CHECK(s.tokens == Tokens{0, 1, 2, 3, 4, 7});
  CHECK(terms_of(s) == Tokens{2});
  CHECK(s.terms[0].log_mass == Approx(std::log(2)));
  CHECK(s.target_p == 0.95);
  CHECK(three.output(s) == Approx(4).epsilon(1e-6));
  // (0.85, 0.50): kept 0 1, refined 0; a term of mass 6, value 4; cluster 2 dropped.
  // (10 + 18 + 24 + 20) / (1 + 12 + 6 + 1) = 72 / 20.
  s = three.select("double_p", {{"p1", 0.85}, {"p2", 0.5}}).heads[0];
  CHECK(s.tokens == Tokens{0, 1, 2, 7});
  CHECK(terms_of(s) == Tokens{1});
  CHECK(three.output(s) == Approx(3.6).epsilon(1e-6));
  // outside = estimate: cluster 2 enters as a term too, 88 / 22 again.
  s = three.select("double_p", {{"p1", 0.85}, {"p2", 0.5}, {"outside", text("estimate")}}).heads[0];
  CHECK(s.tokens == Tokens{0, 1, 2, 7});
  CHECK(terms_of(s) == Tokens{1, 2});
  CHECK(three.output(s) == Approx(4).epsilon(1e-6));
  // p1 = p2: nothing is estimated.
  s = three.select("double_p", {{"p1", 0.7}, {"p2", 0.7}}).heads[0];
  CHECK(s.terms.empty());
}

TEST_CASE("double_p: the mass that p refers to") {
  ThreeClusters three;
  // 0.62 of the clusters' 20 is 12.4: two clusters. 0.62 of 22 is 13.64, of which the zone holds 2:
  // 11.64, one cluster of 12.
  CHECK(three.select("double_p", {{"p2", 0.62}}).heads[0].tokens.size() == 6);
  const Given all = {{"p2", 0.62}, {"mass_scope", text("all")}};
  CHECK(three.select("double_p", all).heads[0].tokens == Tokens{0, 1, 2, 7});
  // 0.05 of 22 is 1.1: the zone suffices.
  const auto s =
      three.select("double_p", {{"p1", 0.05}, {"p2", 0.05}, {"mass_scope", text("all")}}).heads[0];
  CHECK(s.tokens == Tokens{0, 7});
  CHECK(s.terms.empty());
}

TEST_CASE("double_p: a selection per head, by the group's sum, and the union") {
  ThreeClusters three;
  const auto tokens = [&](const char* gqa, double p) {
    const auto out = three.select("double_p", {{"p1", p}, {"p2", p}, {"gqa", text(gqa)}}, 2);
    return std::pair(out.heads[0].tokens, out.heads[1].tokens);
  };
  using Pair = std::pair<Tokens, Tokens>;
  CHECK(tokens("per_head", 0.5) == Pair{{0, 1, 2, 7}, {0, 5, 6, 7}});
  CHECK(tokens("group_union", 0.5) == Pair{{0, 1, 2, 5, 6, 7}, {0, 1, 2, 5, 6, 7}});
  // Sums of shares: 0.711, 0.522, 0.767 of 2; in order 2, 0, 1: 0.383, 0.739, 1.
  CHECK(tokens("group_sum", 0.35) == Pair{{0, 5, 6, 7}, {0, 5, 6, 7}});
  CHECK(tokens("group_sum", 0.5) == Pair{{0, 1, 2, 5, 6, 7}, {0, 1, 2, 5, 6, 7}});
  // A head's terms have its own masses, whoever chose them.
  const auto out =
      three.select("double_p", {{"p1", 1.0}, {"p2", 0.35}, {"gqa", text("group_sum")}}, 2);
  REQUIRE(terms_of(out.heads[0]) == Tokens{0, 1});
  CHECK(out.heads[0].terms[0].log_mass == Approx(std::log(12)));
  CHECK(out.heads[1].terms[0].log_mass == Approx(std::log(1.0 / 3)));
}

TEST_CASE("the estimator decides which cluster is heavier") {
  // d = 2, q = (1, 0). Cluster {0 1}: keys (0, 100), (4, 100): C = 2, u = 4 / 2 = 2 per dimension.
  // Cluster {2 3}: (2.5, -100) twice. jensen: 2 e^2 < 2 e^2.5; second order: 2 e^(2 + 1) > 2 e^2.5.
  const HandCache cache(2, {0, 100, 4, 100, 2.5f, -100, 2.5f, -100}, std::vector<float>(8, 1.0f));
  const float q[2] = {1, 0};
  for (const auto& [estimator, expected] :
       {std::pair<const char*, Tokens>{"jensen", {2, 3}}, {"second_order", {0, 1}}})
    for (const char* policy : {"cluster_top_k", "cluster_top_p", "double_p"}) {
      Given given = {{"sink", i64(0)},
                     {"window", i64(0)},
                     {"clusters", i64(2)},
                     {"estimator", text(estimator)}};
      if (policy == std::string("cluster_top_k")) given["k"] = i64(1);
      if (policy == std::string("cluster_top_p")) given["p"] = 0.5;
      if (policy == std::string("double_p")) given["p1"] = given["p2"] = 0.5;
      HeadPolicy head(policy, given, cache.head());
      INFO(policy << ", " << estimator);
      CHECK(head.select(QueryGroup{q, 1, 2, 1.0, 0}).heads[0].tokens == expected);
    }
}

TEST_CASE("generated tokens stay exact until the index is built anew") {
  const RandomCache cache({1, 1, 12, 4});
  const auto view = [&](std::int64_t n) { return cache.view().first(n).head(0); };
  const auto exact = [&](std::int64_t every) {
    HeadPolicy head(
        "cluster_top_k",
        {{"k", i64(0)}, {"sink", i64(1)}, {"window", i64(2)}, {"recluster_every", i64(every)}},
        view(6));
    std::vector<Tokens> seen = {head.select(cache.group()).heads[0].tokens};
    for (std::int64_t n = 7; n <= 10; ++n) {
      head.append(view(n));
      seen.push_back(head.select(cache.group()).heads[0].tokens);
    }
    return seen;
  };
  // Sink 0, window 4 5 at prefill; never: all that came since stays.
  CHECK(exact(0).back() == Tokens{0, 4, 5, 6, 7, 8, 9});
  // Each two: at 8 tokens the window is 6 7, at 10 it is 8 9.
  CHECK(exact(2) ==
        std::vector<Tokens>{{0, 4, 5}, {0, 4, 5, 6}, {0, 6, 7}, {0, 6, 7, 8}, {0, 8, 9}});
}
