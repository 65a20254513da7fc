// Least squares of the few numbers that measurements decide.
#pragma once

#include <array>
#include <span>

namespace doublep::sim {

/// seconds = latency + slope * work.
struct Line {
  double latency = 0, slope = 0;
};

/// Minimises the sum of squared relative errors ((latency + slope x) / t - 1)^2 with latency >= 0
/// and slope > 0. One point, or points of equal work, give latency 0. Throws InputError for none.
Line fit_line(std::span<const double> work, std::span<const double> seconds);

/// The same for seconds = sum of coefficients times terms, all coefficients at least 0.
std::array<double, 3> fit_terms(std::span<const std::array<double, 3>> terms,
                                std::span<const double> seconds);

}  // namespace doublep::sim
