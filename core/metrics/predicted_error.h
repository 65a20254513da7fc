// What a step can tell of its own output error, without the truth: from what it attended and what
// its index holds.
#pragma once

#include <cstdint>

#include "core/cache/query_block.h"
#include "core/selection/selection.h"

namespace doublep {

/// Relative output error that the cluster terms of one head's selection are expected to cause, from
/// second moments (core/policy/term_error.h): the square root of the sum over its terms of
///     e_i^2 = p_i^2 f_i (|V_i - o|^2 + Sv_i) / |o|^2,
/// with the shares p_i of what was attended (log_sum_exp: of all weights, those of terms included)
/// and its output o, float32 [value_dim]. 0 where every visible token is attended exactly; NaN
/// where tokens are left out or stand for others (log_weights): nothing is known of what they hold.
/// Where o is zero the error is absolute. Costs a dot product a term; nothing is read that the step
/// has not read but two numbers a term, and nothing is decided by it, so that no cost is charged.
double predicted_error(const Selection& selection, const QueryGroup& group, int head,
                       std::int64_t visible, const float* output, int value_dim,
                       double log_sum_exp);

}  // namespace doublep
