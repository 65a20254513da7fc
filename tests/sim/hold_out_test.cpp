// Which points are kept from the fit: all over the grid that was measured, and the same ones
// always.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <tuple>

#include "experiments/simulate/inputs.h"
#include "experiments/simulate/plan.h"
#include "sim/calibration/calibrate.h"
#include "sim/calibration/end_to_end.h"
#include "tests/catch.h"
#include "tests/sim/machine.h"
#include "tests/support/paths.h"

using namespace doublep;
using namespace doublep::sim;
using namespace doublep::sim::test;
using doublep::test::kRoot;

namespace {

// Batches and contexts, each with how many of its points were held out.
struct Counts {
  std::map<int, int> batches;
  std::map<std::int64_t, int> contexts;
  int points = 0, held = 0;
  void add(const MeasuredPoint& p, bool held_out) {
    batches[p.batch] += held_out, contexts[p.context] += held_out;
    ++points, held += held_out;
  }
  void check_every_one_occurs() const {
    for (const auto& [batch, count] : batches) {
      INFO("batch " << batch);
      CHECK(count > 0);
    }
    for (const auto& [context, count] : contexts) {
      INFO("context " << context);
      CHECK(count > 0);
    }
  }
};

}  // namespace

TEST_CASE("Every batch and context of the committed measurements is among the held-out points",
          "[sim]") {
  const SimulationPlan plan = load_plan(kRoot + "/configs/simulate.yaml");
  const HoldOut rule{plan.calibration.hold_out};
  const Calibration c = calibrate(simple_hardware(), load_measured(plan.calibration.points), rule);
  Counts points;
  for (const Prediction& p : c.predictions) points.add(p.point, p.held_out);
  CHECK(points.batches.size() >= 3);
  CHECK(points.contexts.size() >= 6);
  points.check_every_one_occurs();
  CHECK(std::abs(points.held * rule.every - points.points) < points.points / 5);

  Efficiency efficiency = c.efficiency;
  const EndToEnd whole =
      fit_end_to_end(simple_hardware(), load_model(kRoot + "/configs/models/llama-3.1-8b.yaml"),
                     load_measured_model(plan.calibration.end_to_end), rule, efficiency);
  Counts steps;
  for (const StepPrediction& s : whole.steps) steps.add(s.step.attention, s.held_out);
  CHECK(steps.batches.size() >= 4);
  CHECK(steps.contexts.size() >= 4);
  steps.check_every_one_occurs();
}

TEST_CASE("What is held out depends on the point alone", "[sim]") {
  // Pinned: another machine, compiler or version must hold out the same points.
  std::string held;
  for (const int batch : {1, 2, 4, 8, 16, 32, 64, 128})
    held += is_held_out("quest:budget=4096", 65536, batch, {3}) ? 'x' : '.';
  CHECK(held == ".....xx.");
  for (const int none : {-1, 0, 1}) CHECK_FALSE(is_held_out("dense", 8192, 1, {none}));

  auto points = load_measured(load_plan(kRoot + "/configs/simulate.yaml").calibration.points);
  const auto chosen = [&] {
    std::set<std::tuple<std::string, std::int64_t, int>> found;
    for (const Prediction& p : calibrate(simple_hardware(), points, {3}).predictions)
      if (p.held_out) found.insert({p.point.label, p.point.context, p.point.batch});
    return found;
  };
  const auto before = chosen();
  std::reverse(points.begin(), points.end());
  CHECK(chosen() == before);
  points.erase(points.begin());  // one point less: the others stay where they were
  auto without = chosen();
  for (const auto& point : without) CHECK(before.count(point) == 1);
  CHECK(before.size() - without.size() <= 1);
}

TEST_CASE("Selections by error are a search of their own, and a packed cache is not fitted",
          "[sim]") {
  // A run with both: put among the searches of a group's masses, the first left a median error of 7
  // %.
  const std::string run = kRoot + "/cuda/results/2026-11-28-h100/";
  const auto points = load_measured(run + "bench.json");
  const auto ranked = [](const MeasuredPoint& p) { return p.search == Search::kRanked; };
  CHECK(std::count_if(points.begin(), points.end(), ranked) > 50);
  const Hardware h100 = load_hardware(kRoot + "/configs/hardware/h100-sxm.yaml");
  const Calibration c = calibrate(h100, points, {3});
  CHECK(c.held_out.points > 100);
  CHECK(c.held_out.median < 0.06);
  Efficiency efficiency = c.efficiency;
  const EndToEnd whole =
      fit_end_to_end(h100, load_model(kRoot + "/configs/models/llama-3.1-8b.yaml"),
                     load_measured_model(run + "e2e-other.json"), {3}, efficiency);
  CHECK(whole.held_out.points > 40);
  CHECK(whole.held_out.median < 0.03);

  const Yaml packed = Yaml::parse("kv_dtype: fp8", "a point"),
             plain = Yaml::parse("label: x", "one");
  CHECK(is_packed(packed));
  CHECK_FALSE(is_packed(plain));
}
