// How many tokens of a falling order hold a mass, from the weights of a few of them (Tactic, arXiv
// 2502.12216): beyond an exactly known head the x-th weight is taken to be y = a/x + b.
#pragma once

#include <cstdint>
#include <vector>

namespace doublep {

/// Logits of the tokens that were looked at; positions count from 0 along the order.
struct CurveSamples {
  struct Run {
    std::int64_t begin = 0;
    std::vector<double> logits;  ///< of the tokens at begin, begin + 1, ...
  };
  std::int64_t length = 0;   ///< tokens in the order
  std::vector<double> head;  ///< the first ones
  std::vector<Run> runs;     ///< two runs; an empty one is not used
  std::vector<double> held;  ///< tokens beside the order, selected in any case

  std::size_t size() const;  ///< logits in all
};

/// y(x) = a/x + b for the x-th token, counted from 1.
struct Curve {
  double a = 0, b = 0;
  /// Never negative.
  double at(double x) const { return a / x + b > 0 ? a / x + b : 0; }
};

/// The curve through two points; flat at their mean where it would rise, since the order falls.
Curve fit_curve(double x1, double y1, double x2, double y2);

/// Length of the smallest prefix of the order that holds, with `held`, the share p of the mass of
/// all; p >= 1 takes all.
std::int64_t fitted_prefix(const CurveSamples& samples, double p);

}  // namespace doublep
