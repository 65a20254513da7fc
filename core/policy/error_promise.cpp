#include "core/policy/error_promise.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "core/base/error.h"
#include "core/base/quantile.h"

namespace doublep {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kShape = 0.8;  // percentile at which the needs of heads are compared

// The smallest multiple that all but the allowed number of needs are at most.
double conformal(std::vector<double> needs, double queries, double alpha) {
  if (needs.empty()) return kInfinity;
  const double heads = static_cast<double>(needs.size()) / queries;
  const double allowed = std::floor(heads * (alpha * (queries + 1) - 1) + 1e-9);
  if (allowed < 0) return kInfinity;
  std::sort(needs.begin(), needs.end(), std::greater<>());
  return needs[static_cast<std::size_t>(allowed)];
}

}  // namespace

std::int64_t fewest_queries(double alpha) {
  return static_cast<std::int64_t>(std::ceil(1 / alpha - 1e-9)) - 1;
}

ParamSpecs promise_params() {
  return {choice("calibration", "none", {"none", "prompt", "steps"},
                 "with stop: error, what the predicted error is multiplied with: 1, or what the "
                 "prompt's last queries ask for, or the first steps, which attend everything"),
          integer("calibration_queries", 64,
                  "positions that the factor is learnt from: spread over the prompt's recorded "
                  "queries, or the first steps",
                  1, 1000000),
          real("alpha", 0.05, "share of the steps that may err by more than `error`", 1e-4, 0.5),
          choice("promise_to", "group", {"group", "heads"},
                 "whose steps alpha is a share of: of all heads that share a selection together, "
                 "or of every one of them")};
}

PromiseOptions promise_options(const Parameters& p) {
  PromiseOptions options;
  const auto& source = p.choice("calibration");
  options.source = source == "prompt"  ? PromiseOptions::Source::kPrompt
                   : source == "steps" ? PromiseOptions::Source::kSteps
                                       : PromiseOptions::Source::kNone;
  options.queries = p.integer("calibration_queries"), options.alpha = p.real("alpha");
  options.to =
      p.choice("promise_to") == "heads" ? PromiseOptions::To::kHeads : PromiseOptions::To::kGroup;
  return options;
}

void check_promise(const Parameters& p) {
  const PromiseOptions options = promise_options(p);
  if (options.source == PromiseOptions::Source::kNone) return;
  const std::string who = concat("policy ", p.owner(), ": calibration: ", p.choice("calibration"));
  if (p.choice("stop") != "error")
    throw ParameterError("calibration", who +
                                            " keeps a promise of error; set stop to error, or "
                                            "calibration to none");
  if (p.choice("outside") != "estimate")
    throw ParameterError("calibration",
                         who +
                             " needs every cluster's error, and what is dropped has none; set "
                             "outside to estimate, or calibration to none");
  if (p.choice("metric") != "euclidean" && p.choice("metric_source") == "steps")
    throw ParameterError("calibration",
                         who +
                             " is learnt on the index of the prompt, and metric_source: steps "
                             "builds another one later; set metric_source to prompt, or metric to "
                             "euclidean");
  if (options.queries < fewest_queries(options.alpha))
    throw ParameterError(
        "calibration_queries",
        concat(who, " learns nothing about a share of ", to_text(options.alpha), " (alpha) from ",
               options.queries, " queries; calibration_queries must be at least ",
               fewest_queries(options.alpha)));
}

void ErrorPromise::learn(const MatrixD& predicted, const MatrixD& errors,
                         const std::vector<RefinementOrder>& orders) {
  const Eigen::Index heads = errors.rows();
  shared_ = orders.size() == 1;
  MatrixD needs = MatrixD::Constant(heads, heads, kInfinity);
  for (Eigen::Index h = 0; h < heads; ++h) {
    Eigen::Index n = errors.cols();  // where the error has come to stay within the bound
    while (n > 0 && errors(h, n - 1) <= error_) --n;
    const auto forced = static_cast<Eigen::Index>(orders[shared_ ? 0 : h].forced);
    for (Eigen::Index g = 0; g < heads; ++g)
      if (g == h || shared_) needs(h, g) = n <= forced ? 0 : error_ / predicted(g, n - 1);
  }
  needs_.push_back(std::move(needs));
}

VectorD ErrorPromise::factors(int group_size) const {
  if (options_.source == PromiseOptions::Source::kNone) return VectorD::Ones(group_size);
  const bool together = shared_ && options_.to == PromiseOptions::To::kGroup;
  const double queries = static_cast<double>(learned()), alpha = options_.alpha;
  VectorD shape = VectorD::Ones(group_size), factors(group_size);
  if (shared_)
    for (int h = 0; h < group_size; ++h) {
      std::vector<double> own;
      for (const MatrixD& needs : needs_) own.push_back(std::min(needs(h, h), 1e9));
      const double factor =
          together ? quantile(std::move(own), kShape) : conformal(std::move(own), queries, alpha);
      shape[h] = std::clamp(factor, 1e-9, 1e9);
    }
  std::vector<std::vector<double>> multiples(together ? 1 : group_size);
  for (const MatrixD& needs : needs_)
    for (int h = 0; h < group_size; ++h)
      multiples[together ? 0 : h].push_back(
          needs.row(h).cwiseQuotient(shape.transpose()).minCoeff());
  for (int h = 0; h < group_size; ++h)
    factors[h] = conformal(multiples[together ? 0 : h], queries, alpha);
  if (shared_) factors = shape * factors.maxCoeff();  // the neediest head's multiple is all heads'
  // A hair more: with the very factor that was asked for refinement would stop one cluster early.
  return factors * (1 + 1e-9);
}

}  // namespace doublep
