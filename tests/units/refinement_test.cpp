// Orders and stops of Double-P, by hand and by their promises.
#include "core/policy/refinement.h"

#include <cmath>

#include "core/index/mass_estimate.h"
#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// Four clusters of one dimension: {0,1}, {2,3}, {4}, {5,6,7}; a zone that holds nothing.
struct FourClusters {
  HandCache cache{1, {1, 3, 2, 2, 4, 0, 0.5f, 1}, {1, 3, 5, 5, 2, 0, 1, 2}};
  ClusterIndex index =
      ClusterIndex::from_assignment(cache.head(), 0, 8, (MatrixF(4, 1) << 2, 2, 4, 0.5f).finished(),
                                    std::vector<std::int32_t>{0, 0, 1, 1, 2, 3, 3, 3});
  ExactZone zone{0, 8, 8};
  float q[1] = {1};
  QueryGroup group{q, 1, 1, 1, 0};
  MatrixD masses = estimate_log_masses(index, group, Estimator::kJensen);
  MatrixD variances = logit_variances(index, group);
  TermErrors errors = term_errors(cache.head(), zone, group, index, masses, variances, true);

  std::vector<std::int32_t> refine(RefinementOptions options) const {
    const MatrixD scores = refinement_scores(options, index, group, errors);
    return refined_clusters(options, NucleusOptions::Gqa::kPerHead, index, group, 8, scores, errors,
                            VectorD::Ones(1))[0];
  }
};

}  // namespace

TEST_CASE("term errors: p, the spread of weights and that of values, by hand") {
  const FourClusters c;
  const double z[4] = {2 * std::exp(2.0), 2 * std::exp(2.0), std::exp(4.0), 3 * std::exp(0.5)};
  const double total = z[0] + z[1] + z[2] + z[3];
  for (int i = 0; i < 4; ++i) CHECK(c.errors.shares(0, i) == Approx(z[i] / total));
  // Keys 1 and 3 around 2: variance 1. exp(1) - 1 over 2 is above 1 - 1/2: one token has it all.
  const double p = z[0] / total;
  CHECK(c.errors.weights(0, 0) == Approx(p * p * (std::exp(1.0) - 1) / 2));
  const double output = (z[0] * 2 + z[1] * 5 + z[2] * 2 + z[3] * 1) / total;
  CHECK(c.errors.squared(0, 0) ==
        Approx(p * p * 0.5 * ((2 - output) * (2 - output) + 1) / (output * output)));
  CHECK(c.errors.squared(0, 1) == 0);  // equal keys: its term is right
  CHECK(c.errors.squared(0, 2) == 0);  // a single token
}

TEST_CASE("each order takes its own cluster first") {
  const FourClusters c;
  RefinementOptions options;
  options.stop = RefinementOptions::Stop::kTokens, options.tokens = 1;
  options.order = RefinementOptions::Order::kError;
  CHECK(c.refine(options) ==
        std::vector<std::int32_t>{0});  // the others' terms are right, or light
  options.order = RefinementOptions::Order::kSimilarity;
  CHECK(c.refine(options) == std::vector<std::int32_t>{2});
  options.order = RefinementOptions::Order::kP2;
  CHECK(c.refine(options) == std::vector<std::int32_t>{2});
  options.order = RefinementOptions::Order::kMass;
  CHECK(c.refine(options) == std::vector<std::int32_t>{2});
}

TEST_CASE("stops: a share or number of tokens, a price, a predicted error") {
  const FourClusters c;
  RefinementOptions options;
  options.order = RefinementOptions::Order::kError;
  using Stop = RefinementOptions::Stop;
  options.stop = Stop::kShare;
  options.share = 0.25;  // 2 of 8 tokens: the first cluster
  CHECK(c.refine(options) == std::vector<std::int32_t>{0});
  options.share = 0.3;  // the next one in order, {5,6,7}, is taken whole
  CHECK(c.refine(options) == std::vector<std::int32_t>{0, 3});
  options.share = 1;
  CHECK(c.refine(options).size() == 4);
  options.stop = Stop::kTokens, options.tokens = 0;
  CHECK(c.refine(options).empty());
  options.stop = Stop::kPrice;
  const double first = c.errors.squared(0, 0) / 2, second = c.errors.squared(0, 3) / 3;
  REQUIRE(first > second);
  REQUIRE(second > 0);
  options.price = (first + second) / 2;
  CHECK(c.refine(options) == std::vector<std::int32_t>{0});
  options.price = second / 2;
  CHECK(c.refine(options) == std::vector<std::int32_t>{0, 3});
  options.stop = Stop::kError;
  options.error = std::sqrt(c.errors.squared.sum()) * 1.001;
  CHECK(c.refine(options).empty());
  options.error = std::sqrt(c.errors.squared(0, 3)) * 1.001;
  CHECK(c.refine(options) == std::vector<std::int32_t>{0});
  options.error = std::sqrt(c.errors.squared(0, 3)) * 0.999;
  CHECK(c.refine(options) == std::vector<std::int32_t>{0, 3});
}

TEST_CASE("what heads make small together: squared errors, or errors") {
  const FourClusters c;
  // Of four clusters the first head has much to lose at two, the second little, all of it at one.
  TermErrors errors;
  errors.weights.resize(2, 4);
  errors.weights << 0.16, 0.09, 0, 0, 0, 0, 0, 0.09;
  RefinementOptions options;
  options.order = RefinementOptions::Order::kError;
  const VectorD sizes = (VectorD(4) << 2, 2, 1, 3).finished();
  const auto ordered = [&] {
    const MatrixD scores = refinement_scores(options, c.index, c.group, errors);
    for (int h = 0; h < 2; ++h)
      for (int i = 0; i < 4; ++i)
        CHECK(scores(h, i) ==
              Approx(head_votes(options, errors.weights)[h] * errors.weights(h, i) / sizes[i]));
    return refinement_orders(options, NucleusOptions::Gqa::kGroupSum, c.index, c.group, scores,
                             errors)[0]
        .clusters;
  };
  CHECK(head_votes(options, errors.weights) == VectorD::Ones(2));
  CHECK(ordered()[2] == 3);  // 0.08, 0.045 and 0.03 a token
  options.objective = RefinementOptions::Objective::kError;
  CHECK(head_votes(options, errors.weights)[0] == Approx(1 / 0.5));
  CHECK(head_votes(options, errors.weights)[1] == Approx(1 / 0.3));
  CHECK(ordered()[1] == 3);         // 0.16, 0.09 and 0.1 a token
  errors.weights.row(1).setZero();  // nothing to lose, nothing to say
  CHECK(ordered() == std::vector<std::int32_t>{0, 1, 2, 3});
  CHECK(std::isfinite(head_votes(options, errors.weights)[1]));
  options.order = RefinementOptions::Order::kP2;  // knows no errors
  CHECK(head_votes(options, errors.weights) == VectorD::Ones(2));
}

TEST_CASE("an objective wants the order that it is of") {
  const PolicyInfo& info = PolicyRegistry::instance().find("double_p");
  const std::string message = message_of([&] {
    resolve(info, {{"objective", text("error")}, {"order", text("mass")}});
  });
  CHECK(message.find("objective: error") != std::string::npos);
  CHECK(message.find("set order to error") != std::string::npos);
}

TEST_CASE("a group's shared set leaves every head within its predicted error, and no smaller one") {
  const RandomCache cache({1, 4, 400, 16});
  ClusteringOptions clustering;
  const ClusterIndex index = ClusterIndex::build(cache.head(), 4, 336, clustering);
  const QueryGroup group = cache.group();
  const ExactZone zone = ExactZone::of(4, 64, 400);
  const MatrixD masses = estimate_log_masses(index, group, Estimator::kJensen);
  const TermErrors errors =
      term_errors(cache.head(), zone, group, index, masses, logit_variances(index, group), true);
  RefinementOptions options;
  options.order = RefinementOptions::Order::kError, options.stop = RefinementOptions::Stop::kError;
  const MatrixD scores = refinement_scores(options, index, group, errors);
  const VectorD factors = VectorD::LinSpaced(4, 1, 2);
  std::size_t last = static_cast<std::size_t>(index.num_clusters()) + 1;
  for (double bound : {0.02, 0.05, 0.1, 0.2, 1.0}) {
    options.error = bound;
    const auto sets = refined_clusters(options, NucleusOptions::Gqa::kGroupSum, index, group, 400,
                                       scores, errors, factors);
    double worst = 0;
    for (int h = 0; h < 4; ++h) {
      CHECK(sets[h] == sets[0]);
      double left = errors.squared.row(h).sum();
      for (std::int32_t c : sets[0]) left -= errors.squared(h, c);
      CHECK(factors[h] * std::sqrt(std::max(0.0, left)) <= bound * (1 + 1e-9));
      worst = std::max(worst, factors[h] * std::sqrt(std::max(0.0, left)));
    }
    CHECK(sets[0].size() <= last);
    last = sets[0].size();
  }
  CHECK(last < static_cast<std::size_t>(index.num_clusters()));
}

TEST_CASE("double_p: every order and stop runs, and a larger share never attends fewer tokens") {
  const RandomCache cache({1, 4, 600, 16});
  for (const char* order : {"mass", "similarity", "error", "p2"})
    for (const char* gqa : {"per_head", "group_sum", "group_union"}) {
      std::size_t before = 0;
      for (double share : {0.02, 0.1, 0.5, 1.0}) {
        HeadPolicy policy("double_p",
                          {{"order", text(order)},
                           {"stop", text("share")},
                           {"share", share},
                           {"gqa", text(gqa)},
                           {"estimator", text("pooled")},
                           {"outside", text("estimate")},
                           {"value_side", text("shifted")}},
                          cache.head());
        const auto out = policy.select(cache.group());
        CHECK(out.heads[0].tokens.size() >= before);
        before = out.heads[0].tokens.size();
        std::size_t covered = out.heads[0].tokens.size();
        for (const ClusterTerm& term : out.heads[0].terms)
          covered += static_cast<std::size_t>(out.heads[0].index->size(term.cluster));
        CHECK(covered == 600);
      }
      CHECK(before == 600);
    }
}

TEST_CASE("a stop by mass keeps p1 and p2 in any order") {
  const RandomCache cache({1, 2, 600, 16});
  for (const char* order : {"mass", "similarity", "error", "p2"}) {
    HeadPolicy some("double_p", {{"order", text(order)}, {"p1", 0.9}, {"p2", 0.5}}, cache.head());
    HeadPolicy all("double_p", {{"order", text(order)}, {"p1", 1.0}, {"p2", 1.0}}, cache.head());
    CHECK(some.select(cache.group()).heads[0].tokens.size() < 600);
    CHECK(all.select(cache.group()).heads[0].tokens.size() == 600);
  }
}

TEST_CASE("a variant stands for its values, gives way to what is said, and is named when unknown") {
  const PolicyInfo& info = PolicyRegistry::instance().find("double_p");
  const Parameters paper = resolve(info, {{"variant", text("paper")}});
  CHECK(paper.to_json() == resolve(info, {}).to_json());
  const Parameters best = resolve(info, {{"variant", text("best")}, {"share", 0.08}});
  CHECK(best.choice("estimator") == "pooled");
  CHECK(best.real("share") == 0.08);
  CHECK(best.variant() == "best");
  CHECK(resolve(info, {{"variant", text("best")}, {"estimator", text("jensen")}})
            .choice("estimator") == "jensen");
  const std::string message = message_of([&] { resolve(info, {{"variant", text("bset")}}); });
  CHECK(contains(message, "bset"));
  CHECK(contains(message, "paper, best"));
}
