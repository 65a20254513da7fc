// Uniform samples without replacement, and the normal quantile that sizes them.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/random.h"

namespace doublep {

/// `count` of the numbers 0 .. n-1, every subset equally likely, sorted; all of them where count
/// reaches n. A pure function of the generator.
std::vector<std::int32_t> uniform_sample(std::int64_t n, std::int64_t count, const CounterRng& rng);

/// x with P(N(0, 1) <= x) = p, for p in (0, 1), to 1e-12 where p is not extreme.
double normal_quantile(double p);

}  // namespace doublep
