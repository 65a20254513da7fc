// Least squares of the few numbers that measurements decide.
#pragma once

#include <span>

namespace doublep::sim {

/// seconds = latency + slope * work.
struct Line {
  double latency = 0, slope = 0;
};

/// Minimises the sum of squared relative errors ((latency + slope x) / t - 1)^2 with latency >= 0
/// and slope > 0. One point, or points of equal work, give latency 0. Throws InputError for none.
Line fit_line(std::span<const double> work, std::span<const double> seconds);

}  // namespace doublep::sim
