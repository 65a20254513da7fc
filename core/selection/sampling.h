// Uniform samples without replacement, and how large they have to be.
#pragma once

#include <cstdint>
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

}  // namespace doublep
