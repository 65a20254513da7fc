// Calibration: known efficiencies are found again, and held-out points are not seen.
#include <cmath>
#include <filesystem>

#include "core/base/random.h"
#include "experiments/simulate/inputs.h"
#include "experiments/simulate/plan.h"
#include "sim/calibration/calibrate.h"
#include "sim/calibration/fit.h"
#include "sim/cost/roofline.h"
#include "tests/catch.h"
#include "tests/sim/machine.h"

using namespace doublep;
using namespace doublep::sim;
using namespace doublep::sim::test;

namespace {

MeasuredPoint point_of(const std::string& policy, std::int64_t context, int batch, double estimate,
                       double attend, double items) {
  MeasuredPoint p;
  p.policy = p.label = policy;
  p.context = context, p.batch = batch;
  p.stage_bytes = {0, estimate, 0, attend};
  p.select_items = items;
  return p;
}

// Points as a machine of known efficiency would time them, noise times +-`noise`.
std::vector<MeasuredPoint> made_points(const Machine& machine, double noise) {
  std::vector<MeasuredPoint> points;
  for (std::int64_t context : {8192, 16384, 32768, 65536, 131072, 262144})
    for (int batch : {1, 4, 16}) {
      const double cache = 4096.0 * static_cast<double>(context) * batch;
      for (MeasuredPoint p : {point_of("dense", context, batch, 0, cache, 0),
                              point_of("sparse", context, batch, cache / 32, cache / 10,
                                       static_cast<double>(context) / 16)}) {
        const CounterRng rng(1, context, batch, points.size());
        const double factor = 1 + noise * (2 * rng.uniform(0) - 1);
        const std::vector<HeadWork> heads(batch * 8, [&] {
          HeadWork w;
          w.bytes = {0, p.stage_bytes[1] / (8 * batch), 16 * p.select_items,
                     p.stage_bytes[3] / (8 * batch)};
          return w;
        }());
        AttentionOptions options;
        options.dense = p.policy == "dense";
        const AttentionTiming t = attention_time(machine, heads, options);
        for (int s = 0; s < kNumStages; ++s) p.stage_seconds[s] = t.stages[s].seconds * factor;
        p.seconds = t.seconds() * factor;
        points.push_back(p);
      }
    }
  return points;
}

}  // namespace

TEST_CASE("A line through relative errors", "[sim]") {
  const double x[] = {1, 2, 5, 10}, exact[] = {5, 7, 13, 23};
  const Line line = fit_line(x, exact);
  CHECK(line.latency == Approx(3));
  CHECK(line.slope == Approx(2));
  const double through[] = {0.5, 1.5, 4.5, 9.5};  // its best intercept is below 0: held at 0
  CHECK(fit_line(x, through).latency == 0);
  CHECK(fit_line(x, through).slope > 0);
  const double same[] = {2, 2}, time[] = {3, 5};
  CHECK(fit_line(same, time).latency == 0);
  CHECK_THROWS_AS(fit_line({}, {}), InputError);
  const std::array<double, 3> terms[] = {{1, 1, 1}, {1, 1, 9}, {1, 4, 4}, {1, 4, 36}, {1, 2, 30}};
  const double sums[] = {2 + 3 + 5, 2 + 3 + 45, 2 + 12 + 20, 2 + 12 + 180, 2 + 6 + 150};
  const auto found = fit_terms(terms, sums);
  CHECK(found[0] == Approx(2).epsilon(1e-3));
  CHECK(found[1] == Approx(3).epsilon(1e-3));
  CHECK(found[2] == Approx(5).epsilon(1e-3));
  const double zero[] = {0, 1, 1, 1};
  CHECK_THROWS_AS(fit_line(x, zero), InputError);
}

TEST_CASE("Efficiencies that made the times are found again", "[sim]") {
  Machine machine{simple_hardware(), {}};
  machine.efficiency[Access::kDense] = {0.92, 4e-6, 1};
  machine.efficiency[Access::kSparse] = {0.8, 5e-6, 1};
  machine.efficiency[Access::kSummary] = {0.7, 3e-6, 1};
  machine.efficiency.searches[0] = {6e-6, 0, 5e8};
  const Calibration exact = calibrate(machine.hardware, made_points(machine, 0), {3});
  CHECK(exact.efficiency[Access::kDense].share == Approx(0.92).epsilon(0.01));
  CHECK(exact.efficiency[Access::kSparse].share == Approx(0.8).epsilon(0.02));
  CHECK(exact.efficiency[Access::kSummary].latency == Approx(3e-6).epsilon(0.05));
  CHECK(exact.efficiency.searches[0].rate == Approx(5e8).epsilon(0.05));
  // Every point has the one turn here: the two latencies are told apart by their sum only.
  CHECK(exact.efficiency.searches[0].latency + exact.efficiency.searches[0].turn_latency ==
        Approx(6e-6).epsilon(0.05));
  CHECK(exact.held_out.worst < 0.03);
  CHECK(exact.held_out.points == 6);
  CHECK(exact.fitted.points == 30);
  const Calibration noisy = calibrate(machine.hardware, made_points(machine, 0.1), {3});
  CHECK(noisy.held_out.median < 0.08);
  CHECK(noisy.held_out.worst < 0.15);
  CHECK(noisy.coverage().context_low == 8192);
  CHECK(noisy.coverage().context_high == 262144);
  CHECK(noisy.coverage().batch_high == 16);
}

TEST_CASE("The part of an estimate that is timed with the search is charged once", "[sim]") {
  Machine machine{simple_hardware(), {}};
  machine.efficiency[Access::kSparse] = {0.8, 5e-6, 1};
  machine.efficiency[Access::kSummary] = {0.7, 3e-6, 1};
  machine.efficiency.searches[static_cast<int>(Search::kTokens)] = {6e-6, 2e-6, 5e8};
  std::vector<MeasuredPoint> points;
  for (const int batch : {1, 4, 16, 64})
    for (const double n : {8192., 32768., 131072.}) {
      MeasuredPoint p = point_of("twilight", std::int64_t(n), batch, 8 * batch * n * 40,
                                 8 * batch * n * 50, n / 4);
      p.search = Search::kTokens;
      p.late_estimate_bytes = 0.2 * p.stage_bytes[1];
      p.seconds = predict(machine, p);
      const double late = p.late_estimate_bytes / (0.7 * machine.hardware.bandwidth());
      const double search = search_seconds(machine, p.search, p.select_items, 8 * batch, 4);
      p.stage_seconds[2] = late + search;
      p.stage_seconds[3] = p.stage_bytes[3] / (0.8 * machine.hardware.bandwidth()) + 5e-6;
      p.stage_seconds[1] = p.seconds - p.stage_seconds[2] - p.stage_seconds[3];
      points.push_back(p);
    }
  const Calibration c = calibrate(machine.hardware, points, {3});
  CHECK(c.held_out.points == 5);
  CHECK(c.held_out.worst < 0.02);
  CHECK(c.efficiency[Access::kSummary].share == Approx(0.7).epsilon(0.02));
  CHECK(c.efficiency.searches[static_cast<int>(Search::kTokens)].rate == Approx(5e8).epsilon(0.05));
}

TEST_CASE("A held-out point does not move the fit", "[sim]") {
  const Machine machine{simple_hardware(), {}};
  auto points = made_points(machine, 0.05);
  const Calibration before = calibrate(machine.hardware, points, {3});
  for (const Prediction& p : before.predictions)
    if (p.held_out)
      for (MeasuredPoint& q : points)
        if (q.policy == p.point.policy && q.context == p.point.context && q.batch == p.point.batch)
          for (double& t : q.stage_seconds) t *= 7, q.seconds *= 1.1;
  const Calibration after = calibrate(machine.hardware, points, {3});
  CHECK(after.efficiency[Access::kDense].share == before.efficiency[Access::kDense].share);
  CHECK(after.efficiency[Access::kSparse].share == before.efficiency[Access::kSparse].share);
  CHECK(after.held_out.median > before.held_out.median);
}
