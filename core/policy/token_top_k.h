// Top-k over tokens by an approximate score: the last stage of every policy that scores each token;
// and what it costs an oracle to know the true one.
#pragma once

#include <cstdint>

#include "core/base/matrix.h"
#include "core/cost/stages.h"
#include "core/policy/exact_zone.h"
#include "core/policy/policy.h"

namespace doublep {

/// The parameter `budget` of such a policy.
ParamSpec token_budget(Budget fallback);

/// Every head attends sink, window and the tokens of highest score, `budget` in all
/// (tokens_in_all). `scores`: [group size, visible]; or one row, for one selection of the group.
/// Adds the select stage's cost. The policy promises no mass.
void select_top_k(const MatrixD& scores, const Budget& budget, std::int64_t sink,
                  std::int64_t window, GroupSelection& out);

/// An oracle reads every key to know the true weights, and orders them all.
inline void charge_oracle(const KvHead& cache, const QueryGroup& group, KvDtype dtype,
                          GroupSelection& out) {
  const double n = static_cast<double>(cache.length);
  out.charge(Stage::kEstimate, cost::weigh_keys(n, group.head_dim, dtype));
  out.charge_heads(Stage::kSelect, cost::order(n));
}

}  // namespace doublep
