#include "core/selection/curve_fit.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace doublep {
namespace {

double mean_weight(const std::vector<double>& logits, double max) {
  double sum = 0;
  for (double x : logits) sum += std::exp(x - max);
  return sum / static_cast<double>(logits.size());
}

// The middle of a run, counted from 1.
double middle(const CurveSamples::Run& run) {
  return static_cast<double>(run.begin) + 0.5 * (1 + static_cast<double>(run.logits.size()));
}

}  // namespace

std::size_t CurveSamples::size() const {
  std::size_t n = head.size() + held.size();
  for (const Run& run : runs) n += run.logits.size();
  return n;
}

Curve fit_curve(double x1, double y1, double x2, double y2) {
  const Curve flat{0, 0.5 * (y1 + y2)};
  if (x1 == x2) return flat;
  const double a = (y1 - y2) / (1 / x1 - 1 / x2);
  return a > 0 ? Curve{a, y1 - a / x1} : flat;
}

std::int64_t fitted_prefix(const CurveSamples& samples, double p) {
  if (p >= 1) return samples.length;
  double max = -std::numeric_limits<double>::infinity();
  const auto raise = [&max](const std::vector<double>& logits) {
    for (double x : logits) max = std::max(max, x);
  };
  raise(samples.head), raise(samples.held);
  std::vector<CurveSamples::Run> runs;
  for (const auto& run : samples.runs)
    if (!run.logits.empty()) raise(run.logits), runs.push_back(run);

  std::vector<double> weights;  // along the order: known, then fitted
  for (double x : samples.head) weights.push_back(std::exp(x - max));
  if (!runs.empty()) {
    const auto &first = runs.front(), &last = runs.back();
    const Curve curve = fit_curve(middle(first), mean_weight(first.logits, max), middle(last),
                                  mean_weight(last.logits, max));
    for (auto i = static_cast<std::int64_t>(weights.size()); i < samples.length; ++i)
      weights.push_back(curve.at(static_cast<double>(i + 1)));
  }
  double held = 0, total = 0;
  for (double x : samples.held) held += std::exp(x - max);
  for (double w : weights) total += w;
  std::int64_t taken = 0;
  for (double sum = held, target = p * (total + held);
       taken < static_cast<std::int64_t>(weights.size()) && sum < target;)
    sum += weights[taken++];
  return taken;
}

}  // namespace doublep
