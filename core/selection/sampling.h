// Uniform samples without replacement, and how large they have to be; the mass of many tokens from
// the logits of a few: systematic sampling with unequal probabilities, and an interval for heavy
// tails.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/base/random.h"

namespace doublep {

/// `count` of the numbers 0 .. n-1, every subset equally likely, sorted; all of them where count
/// reaches n. A pure function of the generator.
std::vector<std::int32_t> uniform_sample(std::int64_t n, std::int64_t count, const CounterRng& rng);

/// x with P(N(0, 1) <= x) = p, for p in (0, 1), to 1e-12 where p is not extreme.
double normal_quantile(double p);

/// How many of n terms exp(x) to sample uniformly so that, with the confidence that z stands for,
/// the estimate of the denominator errs by eps of it at most: (z sigma n / (eps D))^2 (vAttention,
/// arXiv 2510.05688). sigma and the terms' part of D come from `base`, logits of a uniform sample
/// of them; `certain` are the logits of D's other terms. Between the size of the base sample and n.
std::int64_t sample_size(std::span<const double> certain, std::span<const double> base,
                         std::int64_t n, double z, double eps);

/// Tokens to sample from, in cells (clusters) whose tokens share a rate; a cell of a higher rate is
/// drawn from more often.
struct SamplePool {
  std::vector<std::int32_t> tokens;  ///< cell after cell
  std::vector<std::int64_t> ends;    ///< where each cell ends in `tokens`
  std::vector<double> log_rates;     ///< of one token of the cell

  /// A cell without tokens is left out.
  void add(std::span<const std::int32_t> cell, double log_rate);
};

/// sum of exp(x_j) over a pool, relative to exp(shift).
struct SampledMass {
  double shift = 0, estimate = 0, standard_error = 0;

  /// The ratios exp(x_j) / pi_j have so heavy a tail that a sample without its rare large ones
  /// looks exact: the normal 95 % interval covers 75-92 %. So the interval is multiplicative (the
  /// estimate's logarithm is far closer to symmetric) and as wide as Chebyshev's inequality asks
  /// for 95 % whatever the distribution: 1/sqrt(0.05) standard errors of the logarithm.
  double low() const;
  double high() const;
};

/// Logits of some tokens.
using LogitsOf = std::function<std::vector<double>(std::span<const std::int32_t>)>;

/// Draws `samples` tokens (at least 2) at even spacing from `start` in [0, 1) along the pool's
/// cumulated probability, pi = 0.9 rate / sum of rates + 0.1 / tokens. The estimate is unbiased
/// over `start`. A pool of no more than `samples` tokens is summed instead: no error. `read`
/// receives the tokens whose logits were asked for.
SampledMass sample_mass(const SamplePool& pool, std::int64_t samples, double start,
                        const LogitsOf& logits_of, std::vector<std::int32_t>& read);

}  // namespace doublep
