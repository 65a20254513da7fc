// The tuner on a result made by hand: two layers, candidates of known cost and error.
#include <cmath>
#include <sstream>

#include "core/base/quantile.h"
#include "experiments/tune/tuning.h"
#include "tests/catch.h"

using namespace doublep;

namespace {

// Error in layer 0 and 1, the same at every step but for `late`, added on the last half. `terms`:
// the mass that is covered by terms alone.
StoredRun candidate(const std::string& label, double bytes, double error0, double error1,
                    double late = 0, double terms = 0) {
  StoredRun run;
  run.policy = "p", run.label = label, run.key = label, run.parameters = "{}";
  for (int layer = 0; layer < 2; ++layer)
    for (int step = 0; step < 4; ++step) {
      Row row = {};
      row.layer = layer, row.step = step;
      row.output_error = (layer == 0 ? error0 : error1) + (step >= 2 ? late : 0);
      row.covered_mass = 1 - row.output_error;
      row.exact_mass = row.covered_mass - terms;
      row.bytes[3] = bytes;
      run.rows.push_back(row);
    }
  return run;
}

ResultFile result_of(std::vector<StoredRun> runs) {
  ResultFile file;
  file.traces.push_back({"t", "h", "", "", 1, 1, 1, 1, 4});
  file.runs = std::move(runs);
  return file;
}

Tuning at_most(double bound) {
  Tuning tuning;
  tuning.target = {Target::Metric::kOutputError, -1, bound, 0.95};
  return tuning;
}

}  // namespace

TEST_CASE("the cheapest candidate that meets the target is chosen") {
  const auto result =
      result_of({candidate("cheap", 10, 0.2, 0.2), candidate("good", 20, 0.05, 0.05),
                 candidate("best", 40, 0.01, 0.01)});
  Tuning tuning = at_most(0.05);
  tuning.per_layer = false;
  const PolicyTuning t = tune(result, tuning).at(0);
  REQUIRE(t.uniform.has_value());
  CHECK(t.uniform->runs == std::vector<std::size_t>{1, 1});
  CHECK(t.uniform->tuning.bytes == 20);
  CHECK(t.uniform->heldout.value == Approx(0.05));
  CHECK(t.front.size() == 3);
  CHECK_FALSE(t.per_layer.has_value());
}

TEST_CASE("per layer pays where the layers differ") {
  // Layer 0 is easy: the cheap point is good enough there; layer 1 needs the dear one.
  const auto result =
      result_of({candidate("cheap", 10, 0.02, 0.30), candidate("dear", 30, 0.01, 0.05)});
  const PolicyTuning t = tune(result, at_most(0.04)).at(0);
  REQUIRE(t.uniform.has_value());
  CHECK(t.uniform->tuning.bytes == 30);
  REQUIRE(t.per_layer.has_value());
  CHECK(t.per_layer->runs == std::vector<std::size_t>{0, 1});
  CHECK(t.per_layer->tuning.bytes == 20);             // (10 + 30) / 2
  CHECK(t.per_layer->tuning.value == Approx(0.035));  // (0.02 + 0.05) / 2
}

TEST_CASE("a choice is judged on steps that it did not see") {
  const auto result =
      result_of({candidate("overfit", 10, 0.04, 0.04, 0.10), candidate("steady", 20, 0.01, 0.01)});
  const PolicyTuning t = tune(result, at_most(0.05)).at(0);
  CHECK(result.runs[t.uniform->runs[0]].label == "overfit");
  CHECK(t.uniform->tuning.value == Approx(0.04));
  CHECK(t.uniform->heldout.value == Approx(0.14));
  CHECK(at_most(0.05).target.margin(0.14) == Approx(-1.8));
  std::ostringstream text;
  print_tuning({t}, result, at_most(0.05), text);
  CHECK(text.str().find("NOT met") != std::string::npos);
}

TEST_CASE("safety tightens the bound of the choice, and an unmet target says how close it came") {
  const auto result = result_of({candidate("a", 10, 0.05, 0.05), candidate("b", 20, 0.04, 0.04)});
  Tuning tuning = at_most(0.05);
  tuning.safety = 0.1;
  CHECK(result.runs[tune(result, tuning).at(0).uniform->runs[0]].label == "b");
  const PolicyTuning none = tune(result, at_most(0.01)).at(0);
  CHECK_FALSE(none.uniform.has_value());
  CHECK_FALSE(none.per_layer.has_value());
  CHECK(none.closest == Approx(0.04));
}

TEST_CASE("mass attended exactly is a target that terms do not help to meet") {
  const auto result = result_of({candidate("terms", 10, 0.01, 0.02, 0, 0.3),
                                 candidate("tokens", 20, 0.06, 0.10, 0.02, 0),
                                 candidate("more", 40, 0.06, 0.04, 0, 0)});
  Tuning tuning;
  tuning.target = {Target::Metric::kCoveredMass, -1, 0.9, 0.95};
  CHECK(result.runs[tune(result, tuning).at(0).uniform->runs[0]].label == "terms");
  tuning.target.metric = Target::Metric::kExactMass;
  CHECK_FALSE(tuning.target.at_most());
  CHECK(tuning.target.text() == "exact_mass at least 0.9 on average");
  PolicyTuning t = tune(result, tuning).at(0);
  CHECK(result.runs[t.uniform->runs[0]].label == "tokens");
  CHECK(t.uniform->tuning.value == Approx(0.92));
  CHECK(t.uniform->heldout.value == Approx(0.90));  // later steps err by 0.02 more
  CHECK(t.front.size() == 3);                       // more mass for more bytes
  tuning.safety = 0.3;                              // a tenth may be missed: choose for 0.93
  t = tune(result, tuning).at(0);
  CHECK(result.runs[t.uniform->runs[0]].label == "more");
  REQUIRE(t.per_layer.has_value());  // both have 0.94 in layer 0; 0.90 and 0.96 in layer 1
  CHECK(t.per_layer->runs == std::vector<std::size_t>{1, 2});
  tuning.safety = 0, tuning.target.percentile = 5;  // layer 1 has 0.90 throughout, later 0.88
  t = tune(result, tuning).at(0);
  CHECK(result.runs[t.uniform->runs[0]].label == "tokens");
  CHECK_FALSE(tuning.target.met(t.uniform->heldout.value));
  tuning.target.bound = 0.97;
  t = tune(result, tuning).at(0);
  CHECK_FALSE(t.uniform.has_value());
  CHECK(t.closest == Approx(0.94));
}

TEST_CASE("beside the target a choice's error has its tail and its worst head, and its mass") {
  auto run = candidate("p", 10, 0.1, 0.2, 0.1, 0.05);  // 0.2 and 0.3 on the steps that judge
  for (Row& row : run.rows) row.head = row.layer == 1 && row.step % 2 == 1 ? 1 : 0;
  for (Row& row : run.rows)
    if (row.head == 1) row.output_error += 0.4;
  const auto result = result_of({run});
  const PolicyTuning t = tune(result, at_most(1)).at(0);
  const Beside found = beside(*t.uniform, result, {0.5, false});
  CHECK(found.error == Approx((0.2 + 0.2 + 0.3 + 0.7) / 4));
  CHECK(found.error_p95 ==
        Approx(0.7 - 0.15 * (0.7 - 0.3)));  // between the third and fourth of four
  CHECK(found.error_worst_head == Approx(0.7));
  CHECK(found.exact_mass == Approx((0.75 + 0.75 + 0.65 + 0.65) / 4));
  std::ostringstream text;
  print_tuning({t}, result, at_most(1), text);
  CHECK(
      text.str().find("output error is 0.35 on average, 95th percentile 0.64, worst head 0.7; 0.7 "
                      "of the mass is attended exactly") != std::string::npos);
}

TEST_CASE("held-out steps may be spread over the run") {
  const auto run = candidate("drifts", 10, 0.04, 0.04, 0.10);  // steps 2 and 3 err by 0.14
  Tuning tuning = at_most(0.1);
  CHECK(sample(run, tuning.target, {0.5, false}, true).at(0).values ==
        std::vector<double>{0.04 + 0.10, 0.04 + 0.10});
  CHECK(sample(run, tuning.target, {0.5, true}, true).at(0).values ==
        std::vector<double>{0.04, 0.04 + 0.10});  // steps 1 and 3
}

TEST_CASE("percentiles and rates are statistics of rows") {
  CHECK(quantile({3, 1, 2}, 0.5) == 2);
  CHECK(quantile({0, 10}, 0.25) == 2.5);
  CHECK(quantile({7}, 0.05) == 7);
  CHECK(std::isnan(quantile({}, 0.5)));
  CHECK(std::isnan(quantile({1, std::nan(""), 2}, 0.5)));
  Tuning rate;
  rate.target = {Target::Metric::kViolationRate, -1, 0.5, 0.95};
  const auto result =
      result_of({candidate("half", 10, 0.01, 0.2), candidate("none", 20, 0.01, 0.01)});
  CHECK(result.runs[tune(result, rate).at(0).uniform->runs[0]].label == "half");
  Tuning promise;
  promise.target = {Target::Metric::kErrorViolationRate, -1, 0.5, 0.95, 0.1};
  CHECK(promise.target.at_most());
  CHECK(result.runs[tune(result, promise).at(0).uniform->runs[0]].label == "half");
  promise.target.error = 0.005;  // every row of both is above it
  CHECK_FALSE(tune(result, promise).at(0).uniform.has_value());
  Tuning covered;
  covered.target = {Target::Metric::kCoveredMass, 0, 0.95, 0.95};
  CHECK(result.runs[tune(result, covered).at(0).uniform->runs[0]].label == "none");
}
