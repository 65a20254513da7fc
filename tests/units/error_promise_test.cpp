// A promise of error: factors by hand, prefixes against what attend gives, what steps and prompts
// teach, and refusals.
#include "core/policy/error_promise.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/attention/attend.h"
#include "core/index/mass_estimate.h"
#include "core/index/value_shift.h"
#include "core/policy/prefix_error.h"
#include "tests/catch.h"
#include "tests/support/message.h"
#include "tests/support/prompt.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

// A policy that promises `error`, learning from the first steps or the prompt.
Given promising(const char* calibration, double error = 0.05) {
  return {{"variant", text("best")},
          {"stop", text("error")},
          {"error", error},
          {"calibration", text(calibration)},
          {"calibration_queries", std::int64_t{19}}};
}

PromiseOptions learning(double alpha) {
  PromiseOptions options;
  options.source = PromiseOptions::Source::kPrompt, options.alpha = alpha;
  return options;
}

// One head, two clusters: predicted 0.4, 0.1, 0 after none, one and both are refined.
void learn_one(ErrorPromise& promise, double first, double second) {
  promise.learn((MatrixD(1, 3) << 0.4, 0.1, 0).finished(),
                (MatrixD(1, 3) << first, second, 0).finished(),
                std::vector<RefinementOrder>{{{0, 1}, 0}});
}

}  // namespace

TEST_CASE("the factor is the conformal quantile of what the queries asked for") {
  // Right at once: 0. Right after one cluster: above 0.05 / 0.4. After both: above 0.05 / 0.1.
  ErrorPromise promise(learning(0.25), 0.05);
  for (int i = 0; i < 5; ++i) learn_one(promise, 0.04, 0.03);
  learn_one(promise, 0.04, 0.06);  // right at first, wrong later: it has not come to stay
  learn_one(promise, 0.2, 0.01);
  CHECK(promise.learned() == 7);
  // ceil(0.75 * 8) = 6th of 7: 0 0 0 0 0 0.125 0.5.
  CHECK(promise.factors(1)[0] == Approx(0.125));
  CHECK(promise.factors(1)[0] > 0.125);  // else refinement would stop before that cluster
  learn_one(promise, 0.2, 0.2);          // ceil(0.75 * 9) = 7th of 0 0 0 0 0 0.125 0.5 0.5
  CHECK(promise.factors(1)[0] == Approx(0.5));
  ErrorPromise few(learning(0.25), 0.05);
  for (int i = 0; i < 2; ++i) learn_one(few, 0.01, 0.01);
  CHECK(std::isinf(few.factors(1)[0]));  // two queries say nothing about one in four
  learn_one(few, 0.01, 0.01);
  CHECK(few.factors(1)[0] == 0);
  CHECK(ErrorPromise({}, 0.05).factors(2) == VectorD::Ones(2));
}

TEST_CASE("heads that share a selection need only the neediest's factor") {
  // Both heads ask for one cluster in the second of four queries; head 1 is predicted half of head
  // 0.
  ErrorPromise promise(learning(0.5), 0.1);
  const std::vector<RefinementOrder> shared = {{{0}, 0}};
  const MatrixD predicted = (MatrixD(2, 2) << 0.4, 0, 0.2, 0).finished();
  for (int i = 0; i < 4; ++i)
    promise.learn(predicted, (MatrixD(2, 2) << 0.05 + 0.3 * (i > 0), 0, 0.05, 0).finished(),
                  shared);
  // Head 0 asks for 0.25 in three of four queries, head 1 for nothing. Of eight (query, head) at
  // most 2 (0.5 * 5 - 1) = 3 may miss: three ask for more than nothing, so the multiple is 0.
  CHECK(promise.factors(2)[0] == 0);
  ErrorPromise strict(learning(0.25), 0.1);
  for (int i = 0; i < 4; ++i)
    strict.learn(predicted, (MatrixD(2, 2) << 0.05 + 0.3 * (i > 0), 0, 0.05, 0).finished(), shared);
  CHECK(strict.factors(2)[0] == Approx(0.25));  // 2 (0.25 * 5 - 1) = 0.5: none may miss
  CHECK(strict.factors(2)[1] < 1e-6);
  // By themselves: head 1 keeps its factor of 0.
  ErrorPromise alone(learning(0.25), 0.1);
  for (int i = 0; i < 4; ++i)
    alone.learn(predicted, (MatrixD(2, 2) << 0.35, 0, 0.05, 0).finished(), {{{0}, 0}, {{0}, 0}});
  CHECK(alone.factors(2)[0] == Approx(0.25));
  CHECK(alone.factors(2)[1] == 0);
}

TEST_CASE("a promise to the heads: each keeps its share, though the others have some to spare") {
  // Twenty queries. Head 0 asks for 0.25 in one of them, head 1 for 1 in six: of forty (query,
  // head) seven miss where nothing is refined.
  const std::vector<RefinementOrder> shared = {{{0}, 0}};
  const MatrixD predicted = (MatrixD(2, 2) << 0.4, 0, 0.1, 0).finished();
  const auto factors = [&](PromiseOptions::To to) {
    PromiseOptions options = learning(0.25);
    options.to = to;
    ErrorPromise promise(options, 0.1);
    for (int i = 0; i < 20; ++i)
      promise.learn(predicted,
                    (MatrixD(2, 2) << (i == 0 ? 0.3 : 0), 0, (i < 6 ? 0.3 : 0), 0).finished(),
                    shared);
    return promise.factors(2);
  };
  // To the group 2 (0.25 * 21 - 1) = 8 may miss: nothing is asked for. To the heads 4 of a head's
  // 20, and head 1 has 6: its factor is what it asked for; that of head 0, which asks in one, is 0.
  CHECK(factors(PromiseOptions::To::kGroup).maxCoeff() < 1e-6);
  CHECK(factors(PromiseOptions::To::kHeads)[0] < 1e-6);
  CHECK(factors(PromiseOptions::To::kHeads)[1] == Approx(1));
}

TEST_CASE("prefix errors are those of the selections that they stand for") {
  const RandomCache cache({1, 3, 300, 16});
  ClusteringOptions clustering;
  clustering.moments = {.value_map = true, .key_shape = true};
  const auto index =
      std::make_shared<const ClusterIndex>(ClusterIndex::build(cache.head(), 4, 236, clustering));
  const QueryGroup group = cache.group();
  const ExactZone zone = ExactZone::of(4, 64, 300);
  const MatrixD masses = estimate_log_masses(*index, group, Estimator::kPooled);
  const TermErrors errors =
      term_errors(cache.head(), zone, group, *index, masses, logit_variances(*index, group), true);
  RefinementOptions options;
  options.order = RefinementOptions::Order::kError, options.stop = RefinementOptions::Stop::kError;
  const MatrixD scores = refinement_scores(options, *index, group, errors);
  GroupSelection terms(3);
  for (int h = 0; h < 3; ++h) {
    terms.heads[h].index = index;
    for (std::int32_t c = 0; c < index->num_clusters(); ++c)
      if (index->size(c) > 0) terms.heads[h].terms.push_back({c, masses(h, c)});
  }
  shift_values(group, terms);
  std::vector<Selection> dense(3);
  for (Selection& head : dense)
    for (std::int32_t j = 0; j < 300; ++j) head.tokens.push_back(j);
  std::vector<float> truth(48), found(48);
  std::vector<double> sums(3);
  attend(cache.head(), group, dense, truth.data(), sums.data());
  for (auto gqa : {NucleusOptions::Gqa::kPerHead, NucleusOptions::Gqa::kGroupSum}) {
    const auto orders = refinement_orders(options, gqa, *index, group, scores, errors);
    REQUIRE(orders.size() == (gqa == NucleusOptions::Gqa::kGroupSum ? 1 : 3));
    const MatrixD prefixes = prefix_errors(cache.head(), zone, group, terms, orders);
    const MatrixD predicted = prefix_predictions(errors.squared, orders);
    const auto k = static_cast<Eigen::Index>(orders[0].clusters.size());
    REQUIRE(prefixes.cols() == k + 1);
    for (Eigen::Index n : {Eigen::Index{0}, Eigen::Index{1}, k / 2, k}) {
      std::vector<Selection> heads = terms.heads;
      VectorD left = VectorD::Zero(3);
      for (int h = 0; h < 3; ++h) {
        const auto& order = orders[orders.size() == 1 ? 0 : h].clusters;
        zone.for_each([&](std::int32_t j) { heads[h].tokens.push_back(j); });
        for (Eigen::Index i = 0; i < k; ++i) {
          const std::int32_t c = order[i];
          if (i >= n) {
            left[h] += errors.squared(h, c);
            continue;
          }
          const auto members = index->members(c);
          heads[h].tokens.insert(heads[h].tokens.end(), members.begin(), members.end());
          std::erase_if(heads[h].terms, [&](const ClusterTerm& t) { return t.cluster == c; });
        }
        std::sort(heads[h].tokens.begin(), heads[h].tokens.end());
      }
      attend(cache.head(), group, heads, found.data(), sums.data());
      for (int h = 0; h < 3; ++h) {
        const auto o = ConstRowF(truth.data() + 16 * h, 16).cast<double>();
        const auto got = ConstRowF(found.data() + 16 * h, 16).cast<double>();
        CHECK(prefixes(h, n) == Approx((got - o).norm() / o.norm()).margin(1e-6));
        CHECK(predicted(h, n) == Approx(std::sqrt(left[h])).margin(1e-12));
      }
    }
  }
}

TEST_CASE("steps that teach attend everything, and after them every step keeps the promise") {
  // 60 steps of one random process: what was learnt from the first holds for the others.
  const std::int64_t steps = 60;
  const RandomCache cache({1, 2, 700, 16, steps});
  for (const char* gqa : {"per_head", "group_sum"}) {
    Given given = promising("steps");
    given["gqa"] = text(gqa), given["metric"] = text("euclidean");
    HeadPolicy policy("double_p", given, cache.head());
    std::int64_t kept = 0, judged = 0;
    for (std::int64_t t = 0; t < steps; ++t) {
      const QueryGroup group = cache.group(0, t);
      const auto out = policy.select(group);
      if (t < 19) {
        CHECK(out.heads[1].tokens.size() == 700);
        CHECK(out.heads[1].target_error == 0.05);
        continue;
      }
      CHECK(out.heads[0].error_factor > 0);
      CHECK(out.heads[0].error_factor == policy.select(group).heads[0].error_factor);
      std::vector<float> found(32), dense(32);
      std::vector<double> sums(2);
      std::vector<Selection> all(2);
      for (Selection& head : all)
        for (std::int32_t j = 0; j < 700; ++j) head.tokens.push_back(j);
      attend(cache.head(), group, out.heads, found.data(), sums.data());
      attend(cache.head(), group, all, dense.data(), sums.data());
      for (int h = 0; h < 2; ++h, ++judged) {
        const ConstRowF o(dense.data() + 16 * h, 16), got(found.data() + 16 * h, 16);
        kept += (got - o).norm() <= 0.05f * o.norm();
      }
    }
    INFO(gqa << " " << kept << " of " << judged);
    CHECK(static_cast<double>(kept) >= 0.9 * static_cast<double>(judged));
  }
}

TEST_CASE("one token far above its centroid: the cluster is refined though the sum is content") {
  const RandomCache cache({1, 2, 600, 16});
  const auto tokens = [&](double tail) {
    HeadPolicy policy("double_p",
                      {{"variant", text("best")},
                       {"metric", text("euclidean")},
                       {"stop", text("error")},
                       {"error", 0.2},
                       {"tail", tail}},
                      cache.head());
    return policy.select(cache.group()).heads[0].tokens.size();
  };
  CHECK(tokens(0) <= tokens(3));
  CHECK(tokens(3) <= tokens(6));
  CHECK(tokens(0) < tokens(6));
}

TEST_CASE("promises that cannot be kept are refused") {
  const PolicyInfo& info = PolicyRegistry::instance().find("double_p");
  const auto refusal = [&](Given given, const char* parameter) {
    return message_of([&] {
      try {
        resolve(info, given);
      } catch (const ParameterError& error) {
        CHECK(error.parameter == parameter);
        throw;
      }
    });
  };
  Given given = promising("prompt");
  given["stop"] = text("share");
  CHECK(contains(refusal(given, "calibration"), "stop to error"));
  given = promising("steps"), given["outside"] = text("drop");
  CHECK(contains(refusal(given, "calibration"), "outside to estimate"));
  given = promising("steps"), given["metric_source"] = text("steps");
  CHECK(contains(refusal(given, "calibration"), "metric_source to prompt"));
  given = promising("steps"), given["calibration_queries"] = std::int64_t{18};
  CHECK(contains(refusal(given, "calibration_queries"), "at least 19"));
  given["alpha"] = 0.1;  // 9 are enough for that
  CHECK_NOTHROW(resolve(info, given));
  given = promising("steps"), given["alpha"] = 0.6;
  CHECK(contains(refusal(given, "alpha"), "alpha"));
  const RandomCache cache({1, 2, 300, 16});  // without a prompt's queries
  const std::string message =
      message_of([&] { HeadPolicy("double_p", promising("prompt"), cache.head()); });
  CHECK(contains(message, "needs 19 of the prompt's last queries"));
  CHECK(contains(message, "holds 0"));
}
