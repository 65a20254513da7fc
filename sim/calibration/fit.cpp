#include "sim/calibration/fit.h"

#include <algorithm>
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

std::array<double, 3> fit_terms(std::span<const std::array<double, 3>> terms,
                                std::span<const double> seconds) {
  DP_ASSERT(terms.size() == seconds.size() && !terms.empty(), "a time for every row of terms");
  // Normal equations of the relative errors, each term scaled to 1, then coordinate descent: the
  // problem is convex and has three unknowns.
  std::array<double, 3> scale{}, c{}, right{};
  std::array<std::array<double, 3>, 3> left{};
  for (std::size_t i = 0; i < terms.size(); ++i)
    for (int j = 0; j < 3; ++j) scale[j] = std::max(scale[j], terms[i][j] / seconds[i]);
  for (std::size_t i = 0; i < terms.size(); ++i)
    for (int j = 0; j < 3; ++j) {
      if (scale[j] <= 0) continue;
      const double x = terms[i][j] / seconds[i] / scale[j];
      right[j] += x;
      for (int k = 0; k < 3; ++k)
        if (scale[k] > 0) left[j][k] += x * terms[i][k] / seconds[i] / scale[k];
    }
  for (int round = 0; round < 20000; ++round)
    for (int j = 0; j < 3; ++j) {
      if (left[j][j] <= 0) continue;
      double rest = right[j];
      for (int k = 0; k < 3; ++k)
        if (k != j) rest -= left[j][k] * c[k];
      c[j] = std::max(0.0, rest / left[j][j]);
    }
  for (int j = 0; j < 3; ++j)
    if (scale[j] > 0) c[j] /= scale[j];
  return c;
}

}  // namespace doublep::sim
