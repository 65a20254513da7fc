// Kinds of heads, and the level of tokens below clusters: by hand, and on caches made so that each
// kind is the right one.
#include "core/policy/token_level.h"

#include <cmath>

#include "core/cache/logits.h"
#include "core/metrics/step_metrics.h"
#include "core/policy/head_kinds.h"
#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/prompt.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// Two clusters of two dimensions: keys 0, 1, 2 and 15 steps from one another along x; 10 apart.
struct WideCluster {
  HandCache cache{2, {0, 0, 1, 0, 2, 0, 15, 0, 0, 10, 1, 10}, {1, 0, 2, 0, 3, 0, 9, 9, 5, 5, 7, 5}};
  std::shared_ptr<const ClusterIndex> index =
      std::make_shared<const ClusterIndex>(ClusterIndex::from_assignment(
          cache.head(), 0, 6, (MatrixF(2, 2) << 4.5f, 0, 0.5f, 10).finished(),
          std::vector<std::int32_t>{0, 0, 0, 0, 1, 1}));
  float q[2] = {0.5f, 0.1f};
  QueryGroup group{q, 1, 2, 1, 0};
  ResidualKeys keys{4, KvDtype::kBf16};
  WideCluster() { keys.follow(cache.head(), index); }
};

}  // namespace

TEST_CASE("residual keys: off by half a step of what a key differs from its centroid by") {
  const WideCluster c;
  // Residuals of key 3 are 10.5 and 0: a step of 0.7, which both ends lie on.
  CHECK(c.keys.logits(c.group, 0)(0, 3) == Approx(7.5).margin(1e-5));
  // Those of key 0 are -4.5 and 0: ends again, so is every key of two dimensions.
  CHECK(c.keys.logits(c.group, 0)(0, 0) == Approx(0).margin(1e-5));
  CHECK(c.keys.logits(c.group, 1)(0, 1) == Approx(1.5).margin(1e-5));

  const RandomCache random({1, 2, 300, 32});
  const auto index = std::make_shared<const ClusterIndex>(
      ClusterIndex::build(random.head(), 4, 290, ClusteringOptions{}));
  ResidualKeys keys(4, KvDtype::kBf16);
  keys.follow(random.head(), index);
  CHECK(keys.cost().memory_bytes == 286 * cost::quantised_key_bytes(32, 4));
  const MatrixD exact = exact_logits(random.group(), random.head());
  double worst = 0;
  for (std::int32_t cluster = 0; cluster < index->num_clusters(); ++cluster) {
    const MatrixD found = keys.logits(random.group(), cluster);
    for (std::size_t i = 0; i < index->members(cluster).size(); ++i)
      worst = std::max(worst, std::abs(found(0, static_cast<Eigen::Index>(i)) -
                                       exact(0, index->members(cluster)[i])));
  }
  CHECK(worst > 0);  // they are not the keys themselves
  CHECK(worst < 1);
  const double build = keys.cost().build.bytes;
  keys.follow(random.head(), index);  // the same index: nothing to do
  CHECK(keys.cost().build.bytes == build);
}

TEST_CASE("single tokens: the heaviest are picked, a term stands for the rest") {
  const WideCluster c;
  VectorD logits(6);
  logits << 0, 0.5, 1, 7.5, 1, 1.5;
  const VectorD log_totals = VectorD::Constant(1, std::log(logits.array().exp().sum()));
  GroupSelection out(1);
  const std::int32_t both[] = {0, 1};
  const VectorD votes = VectorD::Ones(1);
  WeighedTokens weighed(c.keys, *c.index, c.group, 0, 1, both, log_totals, votes);
  const TokenPicks picks = weighed.pick(2, 2);
  weighed.charge(2, out);
  CHECK(picks.tokens == std::vector<std::int32_t>{3, 5});
  REQUIRE(picks.rests[0].size() == 2);
  const double left = 1 + std::exp(0.5) + std::exp(1.0);
  CHECK(picks.rests[0][0].cluster == 0);
  CHECK(picks.rests[0][0].log_mass == Approx(std::log(left)).margin(1e-5));
  CHECK(picks.rests[0][0].weight_spread ==
        Approx((1 + std::exp(1.0) + std::exp(2.0)) / (left * left) - 1.0 / 3).margin(1e-5));
  CHECK(picks.rests[0][1].log_mass == Approx(1).margin(1e-5));
  CHECK(picks.rests[0][1].weight_spread == Approx(0).margin(1e-9));  // one token
  // Six keys of two dimensions in 4 bits, each with minimum and step.
  CHECK(out.cost[0][Stage::kEstimate].bytes == 6 * cost::quantised_key_bytes(2, 4));

  // Squared error left: of the three 1 + e + e^2 less a third of their squared sum, as shares.
  const double total = std::exp(2 * log_totals[0]);
  CHECK(weighed.left(2, 2)[0] ==
        Approx((1 + std::exp(1.0) + std::exp(2.0) - left * left / 3) / total).margin(1e-5));
  CHECK(weighed.left(1, 0)[0] > weighed.left(1, 1)[0]);  // of the first cluster alone
  CHECK(weighed.left(0, 9)[0] == 0);
  CHECK(weighed.pick(1, 1).tokens == std::vector<std::int32_t>{3});

  const TokenPicks all = weighed.pick(2, 99);
  CHECK(all.tokens.size() == 6);
  CHECK(all.rests[0].empty());
}

TEST_CASE("single tokens: what heads pick together is the sum of their votes") {
  const WideCluster c;
  // The second head looks the other way: what is heavy for one is light for the other.
  const float queries[4] = {c.group.queries[0], c.group.queries[1], -c.group.queries[0],
                            -c.group.queries[1]};
  QueryGroup two = c.group;
  two.queries = queries, two.size = 2;
  const std::int32_t both[] = {0, 1};
  const VectorD log_totals = VectorD::Zero(2);
  const auto pick = [&](double first, double second) {
    const VectorD votes = (VectorD(2) << first, second).finished();
    return WeighedTokens(c.keys, *c.index, two, 0, 2, both, log_totals, votes).pick(2, 1).tokens;
  };
  CHECK(pick(1, 0) == std::vector<std::int32_t>{3});
  CHECK(pick(1, 1) == std::vector<std::int32_t>{3});  // e^7.5 against at most e^0
  CHECK(pick(1e-9, 1) != std::vector<std::int32_t>{3});
  CHECK(pick(1e-9, 1) == pick(0, 1));
}

TEST_CASE("a term that stands for some of its members: covered once, predicted by its own spread") {
  const WideCluster c;
  const GroundTruth truth = GroundTruth::of(c.cache.head(), c.group);
  Selection selection;
  selection.tokens = {3, 4, 5}, selection.index = c.index;
  selection.terms.push_back({0, std::log(1 + std::exp(0.5) + std::exp(1.0))});
  selection.terms[0].weight_spread = 0.25;
  const float output[2] = {1, 0};
  const StepMetrics m = measure(truth, 0, selection, output, truth.log_sum_exp[0]);
  CHECK(m.covered_mass == Approx(1));
  CHECK(m.exact_mass < 0.999);
  const double p = 1 - truth.weights.row(0).tail(3).sum();
  const double mean[2] = {15.0 / 4, 9.0 / 4};
  const double distance = std::pow(mean[0] - 1, 2) + std::pow(mean[1], 2) +
                          static_cast<double>(c.index->value_spreads()[0]);
  CHECK(predicted_error(selection, c.group, 0, 6, output, 2, truth.log_sum_exp[0]) ==
        Approx(std::sqrt(p * p * 0.25 * distance)));
}

TEST_CASE(
    "a kind: tokens at equal cost, dense where neither will do, flat where it hardly matters") {
  const MatrixD flat = (MatrixD(2, 2) << 0.1, 0.3, 0.1, 0.5).finished(), half = flat / 2,
                third = flat / 3, quarter = flat / 4, close = flat * 0.81;
  CHECK(choose_kind({flat, half, third, quarter}, 1) == HeadKind::kTokens);
  CHECK(choose_kind({flat, half, quarter, third}, 1) == HeadKind::kClusters);
  CHECK(choose_kind({flat, half, third, quarter}, 0.11) == HeadKind::kTokens);  // worst head: 0.1
  CHECK(choose_kind({flat, half, third, quarter}, 0.09) == HeadKind::kDense);
  CHECK(choose_kind({flat, half, quarter, third}, 0.19) == HeadKind::kDense);
  CHECK(choose_kind({flat, close, close, close}, 1) == HeadKind::kFlat);
  CHECK(choose_kind({flat, close, close, close}, 0.3) == HeadKind::kDense);
}

namespace {

// The kinds of a prompt's heads; whatever they are, every token is attended or in a term.
std::vector<std::string_view> kinds_of(const Prompt& prompt, const Given& given) {
  HeadPolicy policy("double_p", best(given), prompt.head());
  const GroupSelection out = policy.select(prompt.cache.group());
  const auto kinds = policy.policy->head_kinds();
  for (const Selection& h : out.heads)
    if (!kinds.empty())
      CHECK(measure(GroundTruth::of(prompt.head(), prompt.cache.group()), 0, h,
                    std::vector<float>(16).data(), 0)
                .covered_mass == Approx(1));
  return kinds;
}

}  // namespace

TEST_CASE("head_kinds: auto finds flat heads, heads of clusters, of tokens, and dense ones") {
  using Names = std::vector<std::string_view>;
  CHECK(kinds_of(Prompt(0.01, 0.5), {}) == Names{"flat", "flat"});
  CHECK(kinds_of(Prompt(1, 0.5), {{"share", 0.1}}) == Names{"clusters", "clusters"});
  CHECK(kinds_of(Prompt(2, 1), {{"share", 0.1}}) == Names{"tokens", "tokens"});
  CHECK(kinds_of(Prompt(2, 1), {{"share", 0.05}, {"head_error", 0.3}}) == Names{"dense", "dense"});
  CHECK(kinds_of(Prompt(4, 3), {{"head_error", 1e-6}, {"share", 0.01}, {"gqa", text("per_head")}})
            .size() == 2);
}

TEST_CASE("without the prompt's queries every head is one of clusters, to the last bit") {
  const RandomCache cache({1, 2, 300, 16});
  GroupSelection selections[2] = {GroupSelection(2), GroupSelection(2)};
  for (int i = 0; i < 2; ++i) {
    const PolicyInfo& info = PolicyRegistry::instance().find("double_p");
    const auto policy =
        info.create(resolve(info, best({{"head_kinds", text(i == 0 ? "one" : "auto")}})), {});
    policy->prefill(cache.head());
    policy->select(cache.head(), cache.group(), selections[i]);
    CHECK(policy->head_kinds().empty());
  }
  CHECK(selections[0].heads[0].tokens == selections[1].heads[0].tokens);
  CHECK(selections[0].heads[1].terms.size() == selections[1].heads[1].terms.size());
}

TEST_CASE("nothing to choose where a stop gives no number of tokens, or tokens are dropped") {
  for (const Given& given : {Given{{"stop", text("error")}}, Given{{"outside", text("drop")}},
                             Given{{"gqa", text("group_union")}}})
    CHECK(kinds_of(Prompt(2, 1), given).empty());
}
