// What refining further would have brought: the true output error after every prefix of an order.
#pragma once

#include <vector>

#include "core/base/matrix.h"
#include "core/cache/kv_cache.h"
#include "core/policy/exact_zone.h"
#include "core/policy/refinement.h"
#include "core/selection/selection.h"

namespace doublep {

/// True relative output error of every head where the exact zone and the first n clusters of its
/// order are attended token by token and all others enter as the terms that they are in `terms`, n
/// from 0 to all: [group, clusters in order + 1]. Absolute where the true output is zero. `terms`:
/// every cluster that has members, with its shift. `orders`: one for all heads, or one each. Reads
/// everything: for queries whose dense output is known anyway.
MatrixD prefix_errors(const KvHead& cache, const ExactZone& zone, const QueryGroup& group,
                      const GroupSelection& terms, const std::vector<RefinementOrder>& orders);

/// Predicted error left after the same prefixes, sqrt of the sum of `squared` over what remains.
MatrixD prefix_predictions(const MatrixD& squared, const std::vector<RefinementOrder>& orders);

}  // namespace doublep
