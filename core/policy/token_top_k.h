// Top-k over tokens by an approximate score: the last stage of every policy that scores each token.
#pragma once

#include <cstdint>

#include "core/base/matrix.h"
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

}  // namespace doublep
