// Do the policies choose what a second, naive implementation chooses, and attend it as it does?
#include "tests/support/brute_force.h"

#include <algorithm>
#include <numeric>

#include "core/index/cluster_index.h"
#include "core/policy/exact_zone.h"
#include "tests/catch.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

Tokens by_weight(const std::vector<Real>& w) {
  Tokens order(w.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return w[a] > w[b]; });
  return order;
}

Tokens sorted(Tokens tokens) {
  std::sort(tokens.begin(), tokens.end());
  return tokens;
}

// METHODS' Double-P for one head: clusters that are refined, and those that are estimated.
std::pair<Tokens, Tokens> naive_double_p(const ClusterIndex& index, const QueryGroup& group, int h,
                                         double p1, double p2, bool second, bool outside) {
  const auto k = static_cast<std::int32_t>(index.num_clusters());
  Real q2 = 0;
  for (int i = 0; i < group.head_dim; ++i)
    q2 += static_cast<Real>(group.query(h)[i]) * group.query(h)[i];
  std::vector<Real> z(k);
  for (std::int32_t c = 0; c < k; ++c) {
    Real x = 0;
    for (int i = 0; i < group.head_dim; ++i)
      x += static_cast<Real>(group.query(h)[i]) * index.centroids()(c, i);
    x *= group.softmax_scale;
    if (second) x += index.variances()[c] * q2 * group.softmax_scale * group.softmax_scale / 2;
    z[c] = static_cast<Real>(index.size(c)) * std::exp(x);
  }
  const Real total = std::accumulate(z.begin(), z.end(), Real{0});
  Tokens refined, estimated;
  Real sum = 0;
  for (std::int32_t c : by_weight(z)) {
    if (sum < p2 * total)
      refined.push_back(c);
    else if ((sum < p1 * total || outside) && index.size(c) > 0)
      estimated.push_back(c);
    sum += z[c];
  }
  return {sorted(refined), sorted(estimated)};
}

}  // namespace

TEST_CASE("oracle_top_k against a stable sort by long double's weights") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const RandomCache cache({2, 2, 150, 16}, seed);
    const auto budget = i64(5 + 13 * static_cast<std::int64_t>(seed));
    const auto decoder =
        make_decoder("oracle_top_k", {{"budget", budget}, {"sink", i64(2)}, {"window", i64(3)}});
    decoder->prefill(cache.view());
    const auto result = decoder->step(cache.block(), Detail::kSelections);
    for (int h = 0; h < 4; ++h) {
      auto w = brute_weights(cache.head(h / 2), cache.group(h / 2), h % 2);
      for (int j : {0, 1, 147, 148, 149}) w[j] = 2;
      Tokens expected = by_weight(w);
      expected.resize(budget);
      CHECK(result.selections[h].tokens == sorted(expected));
    }
  }
}

TEST_CASE("oracle_top_p against long double's smallest set") {
  for (std::uint64_t seed = 0; seed < 10; ++seed)
    for (double p : {0.3, 0.8, 0.99}) {
      const RandomCache cache({2, 2, 150, 16}, seed);
      const auto decoder = make_decoder("oracle_top_p", {{"p", p}});
      decoder->prefill(cache.view());
      const auto result = decoder->step(cache.block(), Detail::kSelections);
      for (int h = 0; h < 4; ++h) {
        const auto w = brute_weights(cache.head(h / 2), cache.group(h / 2), h % 2);
        Tokens expected;
        Real sum = 0;
        for (std::int32_t j : by_weight(w)) {
          if (sum >= p) break;
          expected.push_back(j), sum += w[j];
        }
        CHECK(result.selections[h].tokens == sorted(expected));
      }
    }
}

TEST_CASE("double_p and cluster_top_p against METHODS' rule over the same index") {
  for (std::uint64_t seed = 0; seed < 8; ++seed)
    for (const char* estimator : {"jensen", "second_order"})
      for (const char* outside : {"drop", "estimate"})
        for (const auto& [p1, p2] : {std::pair(0.95, 0.7), {0.8, 0.2}, {0.6, 0.6}}) {
          const RandomCache cache({2, 2, 300, 16}, seed);
          const Given given = {{"p1", p1},
                               {"p2", p2},
                               {"tokens_per_cluster", i64(6)},
                               {"estimator", std::string(estimator)},
                               {"outside", std::string(outside)},
                               {"sink", i64(2)},
                               {"window", i64(10)}};
          const auto decoder = make_decoder("double_p", given);
          decoder->prefill(cache.view());
          const auto result = decoder->step(cache.block(), Detail::kSelections);
          for (int h = 0; h < 4; ++h) {
            ClusteringOptions options;
            options.tokens_per_cluster = 6;
            const auto index = ClusterIndex::build(cache.head(h / 2), 2, 290, options);
            const auto [refined, estimated] = naive_double_p(
                index, cache.group(h / 2), h % 2, p1, p2, estimator == std::string("second_order"),
                outside == std::string("estimate"));
            Tokens tokens, terms;
            ExactZone::of(2, 10, 300).for_each([&](auto j) { tokens.push_back(j); });
            for (std::int32_t c : refined)
              tokens.insert(tokens.end(), index.members(c).begin(), index.members(c).end());
            for (const ClusterTerm& term : result.selections[h].terms)
              terms.push_back(term.cluster);
            CHECK(result.selections[h].tokens == sorted(tokens));
            CHECK(terms == estimated);
          }
        }
}

TEST_CASE("whatever any policy selects, its output is the quotient of METHODS in long double") {
  for (const PolicyInfo& policy : PolicyRegistry::instance().all())
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
      INFO(policy.name << ", seed " << seed);
      const RandomCache cache({2, 3, 260, 32, 4}, seed);
      const auto decoder = make_decoder(policy.name);
      decoder->prefill(cache.view().first(240));
      for (std::int64_t t = 0; t < 4; ++t) {
        const KvCacheView view = cache.view().first(241 + 5 * t);
        decoder->append(view);
        const auto result = decoder->step(cache.block(t), Detail::kSelections);
        for (int h = 0; h < 6; ++h) {
          const auto expected =
              brute_attend(view.head(h / 3), cache.group(h / 3, t), h % 3, result.selections[h]);
          CHECK(relative_distance(result.output.data() + h * 32, expected.output) < 1e-5);
          CHECK(std::abs(result.log_sum_exp[h] - static_cast<double>(expected.log_sum_exp)) < 1e-5);
        }
      }
    }
}
