// What the oracles have in common.
#pragma once

#include <cmath>

#include "core/policy/policy.h"

namespace doublep {

/// An oracle reads every key to know the true weights, and orders them all.
inline void charge_oracle(const KvHead& cache, const QueryGroup& group, KvDtype dtype,
                          GroupSelection& out) {
  const double n = static_cast<double>(cache.length);
  out.charge(Stage::kEstimate, n * group.head_dim * bytes_of(dtype),
             n * (2.0 * group.head_dim + 1));
  out.charge(Stage::kSelect, 4 * n * group.size, n * std::log2(n + 1));
}

}  // namespace doublep
