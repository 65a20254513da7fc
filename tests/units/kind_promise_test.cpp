// A promise of error kept by kinds of heads: rungs, where a step stops, what is chosen, and what
// choosing costs.
#include "core/policy/kind_promise.h"

#include <cmath>

#include "core/attention/attend.h"
#include "core/cost/stages.h"
#include "core/policy/clustered_cache.h"
#include "core/policy/prompt_replay.h"
#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/prompt.h"

using namespace doublep;
using namespace doublep::test;

namespace {

Given kinds_promising(double error, Given more = {}) {
  more.insert({{"stop", text("error")}, {"calibration", text("prompt")}, {"error", error}});
  return best(more);
}

// The last step of a prompt, with whatever the policy's parts would hand it.
struct Step {
  Prompt prompt;
  Parameters parameters;
  ClusteredCache clusters;
  RankingRule rule;
  ResidualKeys keys{4, KvDtype::kBf16};
  std::unique_ptr<KindStep> step;

  explicit Step(const char* gqa = "group_sum", double tail = 0)
      : prompt(2, 1),
        parameters(resolve(PolicyRegistry::instance().find("double_p"),
                           kinds_promising(0.05, {{"gqa", text(gqa)}, {"tail", tail}}))),
        clusters(parameters, KvDtype::kBf16),
        rule(parameters, KvDtype::kBf16) {
    rule.refinement.calibrated = true;
    clusters.prefill(prompt.head());
    keys.follow(prompt.head(), clusters.index());
    step = std::make_unique<KindStep>(rule, keys, prompt.cache.head(), clusters.exact(),
                                      clusters.index(), prompt.cache.group());
  }
  GroupSelection attend(HeadKind kind, double wanted) {
    GroupSelection out(2);
    for (int u = 0; u < step->units(); ++u) step->attend(kind, u, wanted, out);
    step->finish(out);
    return out;
  }
};

double error_of(const Prompt& prompt, const QueryGroup& group, const Selection& selection, int h) {
  std::vector<float> found(32), dense(32);
  std::vector<double> sums(2);
  std::vector<Selection> all(2), chosen(2, selection);
  for (Selection& head : all)
    for (std::int32_t j = 0; j < 512; ++j) head.tokens.push_back(j);
  attend(prompt.cache.head(), group, chosen, found.data(), sums.data());
  attend(prompt.cache.head(), group, all, dense.data(), sums.data());
  const ConstRowF o(dense.data() + 16 * h, 16), got(found.data() + 16 * h, 16);
  return (got - o).norm() / o.norm();
}

}  // namespace

TEST_CASE("rungs: nothing, 8, then a quarter more each up to half, then all") {
  CHECK(next_rung(0, 99) == 8);
  CHECK(next_rung(8, 99) == 10);
  CHECK(next_rung(10, 99) == 13);
  CHECK(next_rung(10, 25) == 25);
  const Ladder ladder = Ladder::of(25);  // 0, 8, 10, and 25, of which nothing is to be learnt
  CHECK(ladder.rungs == 4);
  CHECK(ladder.tokens == 18);
  CHECK(Ladder::of(12).rungs == 2);
}

TEST_CASE("what a kind is predicted to leave is what its terms are made of") {
  for (const char* gqa : {"group_sum", "per_head"}) {
    Step s(gqa);
    REQUIRE(s.step->units() == (s.rule.gqa == NucleusOptions::Gqa::kGroupSum ? 1 : 2));
    for (HeadKind kind : {HeadKind::kClusters, HeadKind::kTokens}) {
      double before = std::numeric_limits<double>::infinity();
      for (double wanted : {0.0, 40.0, 160.0, 600.0}) {
        const GroupSelection out = s.attend(kind, wanted);
        CHECK(static_cast<double>(out.heads[0].tokens.size()) >= std::min(512.0, wanted + 4 + 64));
        const RankedClusters ranked =
            rank_clusters(s.rule, s.prompt.cache.head(), s.clusters.exact(), *s.clusters.index(),
                          s.prompt.cache.group());
        double squared = 0;  // of head 0
        for (const ClusterTerm& term : out.heads[0].terms) {
          const double p = std::exp(term.log_mass - ranked.errors.log_totals[0]);
          squared += std::isnan(term.weight_spread) ? ranked.errors.squared(0, term.cluster)
                                                    : p * p * term.weight_spread;
        }
        const double predicted = s.step->predicted(kind, 0, wanted)[0];
        CHECK(predicted == Approx(std::sqrt(squared)).margin(1e-9));
        CHECK(predicted <= before);
        before = predicted;
      }
      CHECK(before == 0);  // nothing is left
    }
    CHECK(s.step->predicted(HeadKind::kDense, 0, 0)[0] == 0);
    CHECK(s.attend(HeadKind::kDense, 0).heads[1].tokens.size() == 512);
    CHECK(s.attend(HeadKind::kFlat, 99).heads[1].tokens.size() == 68);
  }
}

TEST_CASE("a step stops at the first rung at which no head is foreseen to err by more") {
  Step s;
  for (HeadKind kind : {HeadKind::kClusters, HeadKind::kTokens}) {
    const VectorD factors = (VectorD(2) << 1, 3).finished();
    const double found = promised_tokens(*s.step, kind, 0, factors, 0.05);
    CHECK(found > 0);
    REQUIRE(found < 444);
    for (double n = 0; n <= found; n = next_rung(n, 444)) {
      const VectorD left = s.step->predicted(kind, 0, n);
      CHECK((std::max(left[0], 3 * left[1]) <= 0.05) == (n == found));
    }
    CHECK(promised_tokens(*s.step, kind, 0, VectorD::Constant(2, 1e30), 0.05) == 444);  // all
  }
  CHECK(promised_tokens(*s.step, HeadKind::kFlat, 0, VectorD::Ones(2), 1e-9) == 0);
}

TEST_CASE("clusters where one token may exceed the error are looked into, wherever the stop is") {
  Step without, with("group_sum", 6);
  CHECK(without.attend(HeadKind::kClusters, 0).heads[0].tokens.size() == 68);
  CHECK(with.attend(HeadKind::kClusters, 0).heads[0].tokens.size() > 68);
  const auto rests = [](const GroupSelection& out) {
    return std::count_if(out.heads[0].terms.begin(), out.heads[0].terms.end(),
                         [](const ClusterTerm& t) { return !std::isnan(t.weight_spread); });
  };
  CHECK(rests(without.attend(HeadKind::kTokens, 0)) == 0);
  CHECK(rests(with.attend(HeadKind::kTokens, 0)) > 0);
}

TEST_CASE("kinds keep a promise of error: the cheapest that does, by what the prompt asked for") {
  const auto kinds = [](double query, double spread, double error) {
    const Prompt prompt(query, spread);
    HeadPolicy policy("double_p", kinds_promising(error), prompt.head());
    policy.select(prompt.cache.group());
    return std::string(policy.policy->head_kinds().at(0));
  };
  CHECK(kinds(0.01, 0.5, 0.05) == "flat");
  CHECK(kinds(2, 1, 0.2) == "tokens");
  CHECK(kinds(2, 1, 1e-6) == "dense");  // all tokens are cheaper read once
  const Prompt prompt(2, 1, 60);
  for (const char* to : {"group", "heads"}) {
    HeadPolicy policy("double_p", kinds_promising(0.1, {{"promise_to", text(to)}}), prompt.head());
    int kept[2] = {0, 0};
    for (std::int64_t t = 0; t < 60; ++t) {
      const QueryGroup group = prompt.cache.group(0, t);
      const GroupSelection out = policy.select(group);
      for (int h = 0; h < 2; ++h) {
        CHECK(out.heads[h].target_error == 0.1);
        CHECK(out.heads[h].error_factor > 0);
        kept[h] += error_of(prompt, group, out.heads[h], h) <= 0.1;
      }
    }
    INFO(to << " " << kept[0] << " " << kept[1]);
    CHECK(kept[0] + kept[1] >= 105);
    if (to == std::string("heads")) CHECK(std::min(kept[0], kept[1]) >= 52);
  }
}

TEST_CASE("kinds with a promise want its calibration, and the queries that it asks for") {
  const Prompt prompt(2, 1);
  HeadPolicy none("double_p", best({{"stop", text("error")}}), prompt.head());
  none.select(prompt.cache.group());
  CHECK(none.policy->head_kinds().empty());
  KvHead few = prompt.head();
  few.prefill_queries.count = 18;
  CHECK(contains(message_of([&] { HeadPolicy("double_p", kinds_promising(0.05), few); }),
                 "needs 19 of the prompt's last queries, and the trace holds 18"));
}

TEST_CASE(
    "learning is charged: both kinds on every rung, and the keys in a few bits of each index") {
  const Prompt prompt(2, 1);
  const auto build = [&](const Given& given) {
    HeadPolicy policy("double_p", given, prompt.head());
    return policy.policy->index_cost().build;
  };
  const Work one = build(kinds_promising(0.05, {{"head_kinds", text("one")}})),
             kinds = build(kinds_promising(0.05));
  // 64 queries: every index ends 64, 128 or as many as leave half of it before the whole one's.
  PromptReplay replay;
  ClusteredCache clusters(
      resolve(PolicyRegistry::instance().find("double_p"), kinds_promising(0.05)), KvDtype::kBf16);
  clusters.prefill(prompt.head());
  replay.prefill(prompt.head(), 64);
  const ClusterIndex& index = *clusters.index();
  const Ladder ladder = Ladder::of(444);
  Work beside = cost::compare_head_kinds(64, 2, 2 * ladder.tokens, 2 * ladder.rungs, 444,
                                         std::min(4 * ladder.tokens, 444 * ladder.rungs),
                                         static_cast<double>(index.num_clusters()), 16, 16);
  beside += cost::quantise(444, 16, KvDtype::kBf16);
  for (std::int64_t cut : replay.cuts(clusters.exact()))
    beside += cost::quantise(static_cast<double>(cut - 4), 16, KvDtype::kBf16);
  CHECK(replay.cuts(clusters.exact()).size() == 1);
  CHECK(kinds.flops - one.flops == Approx(beside.flops));
  CHECK(kinds.bytes - one.bytes == Approx(beside.bytes));
}
