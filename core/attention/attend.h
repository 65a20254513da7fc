// Attention over any Selection: the one kernel behind every CPU policy.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/cache/kv_cache.h"
#include "core/cache/packed_head.h"
#include "core/cost/stages.h"
#include "core/selection/selection.h"

namespace doublep {

/// Attends every query of the group to its selection. `output`: float32 [group.size, value_dim];
/// `log_sum_exp`: [group.size]. A selection without mass yields zeros and -infinity. Heads that
/// selected the same tokens share one pass over the cache.
void attend(const KvHead& cache, const QueryGroup& group, std::span<const Selection> selections,
            float* output, double* log_sum_exp);

/// Fills in the attend stage of every head's cost: keys and values of the union of the group's
/// exact tokens, the mean values of the union of its terms, and the value map where terms are
/// shifted, are read once. `packed`: the tokens as dtype fp8 stores them; null: no scales are read,
/// and no token is wider.
void charge_attend(const QueryGroup& group, int value_dim, KvDtype dtype, GroupSelection& selection,
                   const PackedHead* packed = nullptr);

/// Adds the reading of keys that any head of the group weighed before it chose (`tokens`, in any
/// order, repeats too) to the estimate stage: once a group, and only of those that no head attends,
/// since attend reads the others anyway. To be called when all heads have chosen.
void charge_weighed_keys(std::vector<std::int32_t> tokens, const QueryGroup& group, KvDtype dtype,
                         GroupSelection& selection);

}  // namespace doublep
