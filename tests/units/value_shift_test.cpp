// The value side: a term's value moves to where the query looks, by the right amount and no
// further.
#include "core/index/value_shift.h"

#include <algorithm>
#include <cmath>

#include "core/attention/attend.h"
#include "core/cache/logits.h"
#include "core/trace/trace.h"
#include "tests/catch.h"
#include "tests/support/brute_force.h"
#include "tests/support/random_cache.h"
#include "tests/support/run_policy.h"

using namespace doublep;
using namespace doublep::test;

namespace {

std::shared_ptr<ClusterIndex> one_cluster(const HandCache& cache) {
  const std::int64_t n = cache.tokens();
  const MatrixF mean = ConstMapF(cache.keys.data(), n, cache.head_dim).colwise().mean();
  auto index = std::make_shared<ClusterIndex>(
      ClusterIndex::from_assignment(cache.head(), 0, n, mean, std::vector<std::int32_t>(n, 0)));
  index->add_moments(cache.head(), {false, true});
  return index;
}

// The shifted term of the one cluster alone: its value.
std::vector<float> shifted_value(const HandCache& cache, const QueryGroup& group) {
  GroupSelection out(1);
  out.heads[0].index = one_cluster(cache);
  out.heads[0].terms = {{0, 3.0}};
  shift_values(group, out);
  std::vector<float> value(cache.head_dim);
  double log_sum_exp;
  attend(cache.head(), group, out.heads, value.data(), &log_sum_exp);
  CHECK(log_sum_exp == Approx(3.0));  // the mass is not touched
  return value;
}

double mean_error(const Trace& trace, const Given& given) {
  ReplayOptions options;
  options.every_step = 8;
  double sum = 0;
  const ReplayResult result = replay_policy(trace, "double_p", given, options);
  for (const Row& row : result.rows) sum += row.output_error;
  return sum / static_cast<double>(result.rows.size());
}

}  // namespace

TEST_CASE("a shift by hand") {
  // Keys 1 and 3, values 10 and 14: u = 1, mean 12, Cov(v, k) = 2, map 2. q = 0.5: direction 1,
  // variance of the logit 0.25, coefficient 1 / (1 + 0.0625).
  const HandCache cache(1, {1, 3}, {10, 14});
  const float q = 0.5f;
  CHECK(one_cluster(cache)->value_map()(0, 0) == Approx(2));
  CHECK(shifted_value(cache, {&q, 1, 1, 1.0, 0})[0] == Approx(12 + 1 / 1.0625));
}

TEST_CASE("values that are linear in the keys: the map is found, and the shift is their tilt") {
  constexpr int d = 4;
  const float b[d][d] = {{1, 2, 0, -1}, {0, 1, 3, 0}, {2, 0, 0, 1}, {-1, 1, 1, 0}};
  std::vector<float> keys, values;
  for (int i = 0; i < d; ++i)
    for (float sign : {-1.0f, 1.0f})
      for (int j = 0; j < d; ++j) keys.push_back(i == j ? sign : 0);
  for (int t = 0; t < 2 * d; ++t)
    for (int r = 0; r < d; ++r) {
      float v = 5;
      for (int j = 0; j < d; ++j) v += b[r][j] * keys[t * d + j];
      values.push_back(v);
    }
  const HandCache cache(d, keys, values);
  const auto map = one_cluster(cache)->value_map();
  for (int r = 0; r < d; ++r)
    for (int j = 0; j < d; ++j) CHECK(map(r, j) == Approx(b[r][j]).margin(1e-6));
  // What is left is of third order: half the query, an eighth of the error.
  double last = 0;
  for (float size : {0.4f, 0.2f, 0.1f}) {
    const float q[d] = {size, -0.5f * size, 0.25f * size, size};
    const QueryGroup group{q, 1, d, 1.0, 0};
    const auto found = shifted_value(cache, group);
    const auto weights = brute_weights(cache.head(), group, 0);
    double error = 0, shift = 0;
    for (int r = 0; r < d; ++r) {
      double truth = 0;
      for (int t = 0; t < 2 * d; ++t) truth += static_cast<double>(weights[t]) * values[t * d + r];
      error += std::pow(found[r] - truth, 2), shift += std::pow(truth - 5, 2);
    }
    CHECK(std::sqrt(error / shift) < 0.2 * size * size + 1e-5);
    if (last > 0) CHECK(std::sqrt(error) < last / 6);
    last = std::sqrt(error);
  }
}

TEST_CASE("the tilted mean key stays within a standard deviation, however large the query") {
  const HandCache cache(1, {1, 3}, {10, 14});
  for (float q : {1.0f, 2.0f, 10.0f, 1e6f}) {
    const float value = shifted_value(cache, {&q, 1, 1, 1.0, 0})[0];
    CHECK(value >= 12);
    CHECK(value <= 14.00001f);  // mean + map * sqrt(u)
  }
}

TEST_CASE("equal keys shift nothing") {
  const HandCache cache(2, {1, 2, 1, 2, 1, 2}, {1, 0, 2, 0, 6, 0});
  const float q[2] = {3, 4};
  const auto value = shifted_value(cache, {q, 1, 2, 1.0, 0});
  CHECK(value[0] == Approx(3));
  CHECK(value[1] == 0);
}

TEST_CASE("attention with shifted terms equals the definition, and charges the map") {
  const RandomCache cache({1, 3, 260, 16}, 7);
  const Given mean = {{"outside", std::string("estimate")},
                      {"estimator", std::string("second_order")},
                      {"p2", 0.3}};
  Given shifted = mean;
  shifted["value_side"] = std::string("shifted");
  HeadPolicy policy("double_p", shifted, cache.head()), plain("double_p", mean, cache.head());
  GroupSelection out = policy.select(cache.group()), base = plain.select(cache.group());
  std::vector<float> output(3 * 16), base_output(3 * 16);
  std::vector<double> log_sum_exp(3);
  attend(cache.head(), cache.group(), out.heads, output.data(), log_sum_exp.data());
  attend(cache.head(), cache.group(), base.heads, base_output.data(), log_sum_exp.data());
  for (int h = 0; h < 3; ++h) {
    REQUIRE(!out.heads[h].terms.empty());
    CHECK(out.heads[h].tokens == base.heads[h].tokens);
    const auto expected = brute_attend(cache.head(), cache.group(), h, out.heads[h]).output;
    CHECK(relative_distance(output.data() + 16 * h, expected) < 1e-5);
    CHECK(relative_distance(base_output.data() + 16 * h, expected) > 1e-4);
  }
  charge_attend(cache.group(), cache.shape.head_dim, KvDtype::kBf16, out);
  charge_attend(cache.group(), cache.shape.head_dim, KvDtype::kBf16, base);
  std::vector<std::int32_t> terms;
  for (const Selection& head : out.heads)
    for (const ClusterTerm& term : head.terms) terms.push_back(term.cluster);
  std::sort(terms.begin(), terms.end());
  const auto distinct = std::unique(terms.begin(), terms.end()) - terms.begin();
  CHECK(out.cost[0][Stage::kAttend].bytes - base.cost[0][Stage::kAttend].bytes ==
        Approx((16 * 16 * 2 + 4.0 * distinct) / 3));
}

TEST_CASE("shifted values lower the error on needle-4k") {
  const Trace trace = Trace::open(needle_4k());
  const Given mean = {{"outside", std::string("estimate")},
                      {"estimator", std::string("second_order")}};
  Given shifted = mean;
  shifted["value_side"] = std::string("shifted");
  CHECK(mean_error(trace, shifted) < 0.9 * mean_error(trace, mean));
}
