// What the oracles have in common.
#pragma once

#include "core/cost/stages.h"
#include "core/policy/policy.h"

namespace doublep {

/// An oracle reads every key to know the true weights, and orders them all.
inline void charge_oracle(const KvHead& cache, const QueryGroup& group, KvDtype dtype,
                          GroupSelection& out) {
  const double n = static_cast<double>(cache.length);
  out.charge(Stage::kEstimate, cost::weigh_keys(n, group.head_dim, dtype));
  out.charge_heads(Stage::kSelect, cost::order(n));
}

}  // namespace doublep
