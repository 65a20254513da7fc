// A promise of error: by what factor a step's prediction is to be multiplied, so that the true
// error stays within a bound in all but a share alpha of the steps.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/matrix.h"
#include "core/base/parameters.h"
#include "core/policy/refinement.h"

namespace doublep {

struct PromiseOptions {
  /// none: the factor is 1. prompt: learnt from the queries of the prompt's last positions. steps:
  /// from the first steps, which attend everything meanwhile.
  enum class Source { kNone, kPrompt, kSteps } source = Source::kNone;
  std::int64_t queries = 64;  ///< positions to learn from
  double alpha = 0.05;        ///< share of the steps that may err more than is promised
  /// Of the heads that share a selection together, or of every one of them.
  enum class To { kGroup, kHeads } to = To::kGroup;
};
ParamSpecs promise_params();
PromiseOptions promise_options(const Parameters& parameters);
/// Fewer queries than this say nothing about a share alpha of the steps.
std::int64_t fewest_queries(double alpha);
/// Throws ParameterError where the promise and the parameters beside it make no sense together.
void check_promise(const Parameters& parameters);

/// Learns the factors of the heads of one KV head. The larger a head's factor, the later its
/// refinement stops, so that every query whose true error is known asks for a smallest one: that
/// with which refinement would have gone on to where the error has come to stay within the bound.
/// The factor is the conformal quantile of what the queries asked for, ceil((1 - alpha)(n + 1)) th
/// of n: if the queries to come are like these (exchangeable), a step of the head errs by more than
/// the bound with probability alpha at most.
///
/// Where the heads share a selection, it is as long as the neediest of them asks: a factor for each
/// alone would promise far more than was asked. There the heads' factors stand to each other in a
/// shape, and their common multiple is the smallest that keeps the promise (conformal risk control,
/// arXiv 2208.02814). To the group: at most a share alpha of (query, head) errs by more; the shape
/// are the heads' needs at the 80th percentile. To the heads: at most a share alpha of every
/// head's queries does; the shape are the factors of the heads by themselves. The shape is taken
/// from the queries that the multiple is, so that with few of them the promise is a little bolder
/// than alpha.
class ErrorPromise {
 public:
  ErrorPromise(const PromiseOptions& options, double error) : options_(options), error_(error) {}

  const PromiseOptions& options() const { return options_; }
  std::int64_t learned() const { return static_cast<std::int64_t>(needs_.size()); }
  /// One query of the group. `predicted` and `errors`: of every prefix of its order, [group,
  /// clusters + 1] (core/policy/prefix_error.h).
  void learn(const MatrixD& predicted, const MatrixD& errors,
             const std::vector<RefinementOrder>& orders);
  /// A factor a head: 1 where nothing was to be learnt. Infinite where the queries that were seen
  /// are too few for alpha: everything is refined that is predicted to err at all.
  VectorD factors(int group_size) const;

 private:
  PromiseOptions options_;
  double error_;
  /// By query: (h, g) is the factor of head g that takes the selection which h and g share to where
  /// h is right; heads that select for themselves have the diagonal only, infinity beside it.
  std::vector<MatrixD> needs_;
  bool shared_ = false;
};

}  // namespace doublep
