// Top-k over tokens by an approximate score: the last stage of every policy that scores each token.
#pragma once

#include <cstdint>

#include "core/base/matrix.h"
#include "core/policy/exact_zone.h"
#include "core/policy/policy.h"

namespace doublep {

/// Every head attends sink, window and the tokens of highest score, `budget` in all (below 1 a
/// share of the visible tokens); a budget below sink + window cuts these. `scores`: [group size,
/// visible]. Adds the select stage's cost. The policy promises no mass.
void select_top_k(const MatrixD& scores, double budget, std::int64_t sink, std::int64_t window,
                  GroupSelection& out);

}  // namespace doublep
