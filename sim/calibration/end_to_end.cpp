#include "sim/calibration/end_to_end.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "core/base/error.h"
#include "sim/calibration/fit.h"
#include "sim/cost/roofline.h"

namespace doublep::sim {
namespace {

// Products and prompts are three or four sizes, too few for a hash: one of the middle is kept.
bool is_middle(std::size_t place, const HoldOut& hold_out) {
  return hold_out.every > 1 && static_cast<int>(place) % hold_out.every == 1;
}

double& part_of(MeasuredProducts& p, const std::string& name) {
  if (name == "qkv") return p.qkv;
  if (name == "o") return p.o;
  if (name == "gate_up") return p.gate_up;
  if (name == "down") return p.down;
  DP_ASSERT(name == "head", "a product that no measurement has: ", name);
  return p.head;
}

std::vector<Gemm> products_of(const Model& model) {
  std::vector<Gemm> all = layer_gemms(model, 1);
  all.push_back(head_gemm(model, 1));
  return all;
}

/// Share that minimises the squared relative errors of ideal / share; 0 where nothing was measured.
double fit_share(const std::vector<double>& ideal, const std::vector<double>& seconds) {
  double top = 0, bottom = 0;
  for (std::size_t i = 0; i < ideal.size(); ++i) {
    const double ratio = ideal[i] / seconds[i];
    top += ratio, bottom += ratio * ratio;
  }
  return top > 0 ? bottom / top : 0;
}

void fit_products(const Machine& machine, const Model& model,
                  const std::vector<ProductsPrediction>& products, Efficiency& e) {
  std::vector<double> work, seconds, small;
  for (const ProductsPrediction& p : products) {
    if (p.held_out) continue;
    MeasuredProducts measured = p.measured;
    for (const Gemm& gemm : products_of(model)) {
      const double each = part_of(measured, gemm.name) / gemm.layers;
      const Timing ideal = gemm_time(machine, gemm, measured.batch);
      if (each > 0) work.push_back(std::max(ideal.memory, ideal.compute)), seconds.push_back(each);
    }
    if (measured.small > 0) small.push_back(measured.small / (kSmallKernels * model.layers + 1));
  }
  if (!work.empty()) {
    const Line line = fit_line(work, seconds);
    e[Access::kGemm].latency = line.latency;
    // One share for both limits: the work above is the larger of the two ideal times.
    if (line.slope > 0) e[Access::kGemm].share = e[Access::kGemm].compute_share = 1 / line.slope;
  }
  if (small.empty()) return;
  double sum = 0;
  for (const double s : small) sum += s;
  e.small_latency = sum / static_cast<double>(small.size());
}

MeasuredProducts predict_products(const Machine& machine, const Model& model, int batch) {
  MeasuredProducts p;
  p.batch = batch;
  for (const Gemm& gemm : products_of(model)) {
    const double seconds = gemm.layers * gemm_time(machine, gemm, batch).seconds;
    part_of(p, gemm.name) = seconds;
    p.seconds += seconds;
  }
  p.small = (kSmallKernels * model.layers + 1) * machine.small_kernel_latency();
  p.seconds += p.small;
  return p;
}

/// A step whose layers' attention costs what it does alone, its result turned to 16 bits.
double without_offset(const Machine& machine, const Model& model, const MeasuredStep& step) {
  return predict_products(machine, model, step.attention.batch).seconds +
         model.layers * (predict(machine, step.attention) + machine.small_kernel_latency());
}

ErrorSummary summarize(const std::vector<StepPrediction>& steps, bool held_out) {
  std::vector<Prediction> as_points;
  as_points.reserve(steps.size());
  for (const StepPrediction& s : steps)
    as_points.push_back({s.step.attention, s.predicted, s.held_out});
  return summarize(as_points, held_out);
}

}  // namespace

EndToEnd fit_end_to_end(const Hardware& hardware, Model model, MeasuredModel measured,
                        const HoldOut& hold_out, Efficiency& efficiency) {
  model.layers = measured.layers;
  EndToEnd result;
  std::sort(measured.products.begin(), measured.products.end(),
            [](const auto& a, const auto& b) { return a.batch < b.batch; });
  for (const MeasuredProducts& p : measured.products)
    result.products.push_back({p, {}, is_middle(result.products.size(), hold_out)});
  std::sort(measured.prefill.begin(), measured.prefill.end(),
            [](const auto& a, const auto& b) { return a.rows < b.rows; });
  for (const MeasuredPrefill& p : measured.prefill)
    result.prefill.push_back({p, 0, is_middle(result.prefill.size(), hold_out)});
  std::sort(measured.steps.begin(), measured.steps.end(), [](const auto& a, const auto& b) {
    return std::tie(a.attention.label, a.attention.context, a.attention.batch) <
           std::tie(b.attention.label, b.attention.context, b.attention.batch);
  });
  for (const MeasuredStep& s : measured.steps) {
    const MeasuredPoint& p = s.attention;
    result.steps.push_back({s, 0, is_held_out(p.label, p.context, p.batch, hold_out)});
  }

  // Ideal times first: an efficiency of 1, no latency.
  Machine ideal{hardware, {}};
  fit_products(ideal, model, result.products, efficiency);
  std::vector<double> floor, seconds;
  for (const PrefillPrediction& p : result.prefill)
    if (!p.held_out)
      floor.push_back(p.measured.flops / hardware.flops(std::string(model.weights.compute()))),
          seconds.push_back(p.measured.seconds);
  if (const double share = fit_share(floor, seconds); share > 0) efficiency.prefill_share = share;

  efficiency.attention_offset = 0;
  Machine machine{hardware, efficiency};
  double top = 0, bottom = 0;  // relative least squares of one constant a layer
  for (const StepPrediction& s : result.steps) {
    if (s.held_out) continue;
    const double t = s.step.attention.seconds, x = model.layers / t;
    top += x * (t - without_offset(machine, model, s.step)) / t, bottom += x * x;
  }
  if (bottom > 0) efficiency.attention_offset = top / bottom;

  machine.efficiency = efficiency;
  for (ProductsPrediction& p : result.products)
    p.predicted = predict_products(machine, model, p.measured.batch);
  for (PrefillPrediction& p : result.prefill)
    p.predicted = p.measured.flops /
                  (efficiency.prefill_share * hardware.flops(std::string(model.weights.compute())));
  for (StepPrediction& s : result.steps)
    s.predicted =
        without_offset(machine, model, s.step) + model.layers * efficiency.attention_offset;
  result.fitted = summarize(result.steps, false);
  result.held_out = summarize(result.steps, true);
  result.measured = std::move(measured);
  return result;
}

}  // namespace doublep::sim
