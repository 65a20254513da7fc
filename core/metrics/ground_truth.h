// Dense attention in float64: what every policy is measured against.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/matrix.h"
#include "core/cache/kv_cache.h"
#include "core/cache/query_block.h"

namespace doublep {

/// One group of query heads over all visible tokens.
struct GroundTruth {
  MatrixD weights;      ///< [group size, length]: true softmax weights, rows sum to 1
  MatrixD outputs;      ///< [group size, value_dim]
  VectorD log_sum_exp;  ///< [group size]

  static GroundTruth of(const KvHead& cache, const QueryGroup& group);
};

}  // namespace doublep
