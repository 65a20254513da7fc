#include "sim/calibration/fit.h"

#include <cmath>

#include "core/base/error.h"

namespace doublep::sim {
namespace {

// Best slope for a given latency: relative weights 1 / t^2.
double slope_for(double latency, std::span<const double> x, std::span<const double> t) {
  double top = 0, bottom = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double w = 1 / (t[i] * t[i]);
    top += w * x[i] * (t[i] - latency), bottom += w * x[i] * x[i];
  }
  return bottom > 0 ? top / bottom : 0;
}

}  // namespace

Line fit_line(std::span<const double> x, std::span<const double> t) {
  DP_ASSERT(x.size() == t.size(), "a time for every work");
  if (x.empty()) fail_input("calibration: no measured point of this kind to fit");
  double w = 0, wx = 0, wxx = 0, wt = 0, wxt = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!(t[i] > 0)) fail_input("calibration: a measured time of ", t[i], " s; times are positive");
    const double weight = 1 / (t[i] * t[i]);
    w += weight, wx += weight * x[i], wxx += weight * x[i] * x[i];
    wt += weight * t[i], wxt += weight * x[i] * t[i];
  }
  const double det = w * wxx - wx * wx;
  Line line;
  if (det > 1e-9 * w * wxx) {
    line.latency = (wt * wxx - wxt * wx) / det;
    line.slope = (w * wxt - wx * wt) / det;
  }
  if (line.latency < 0 || det <= 1e-9 * w * wxx) line = {0, slope_for(0, x, t)};
  if (line.slope <= 0) line = {wt / w, 0};
  return line;
}

}  // namespace doublep::sim
