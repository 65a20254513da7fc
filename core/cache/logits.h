// Dot products of queries with keys.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/matrix.h"
#include "core/cache/kv_cache.h"

namespace doublep {

/// scale * q.row for every row: float64 from float32 inputs, [group size, rows]. What decides a
/// selection is computed here, so that it does not hang on SIMD width or compiler.
MatrixD exact_logits(const QueryGroup& group, const float* rows, std::int64_t num_rows);

/// All visible keys: [group size, length].
inline MatrixD exact_logits(const QueryGroup& group, const KvHead& cache) {
  return exact_logits(group, cache.keys, cache.length);
}

/// log(sum(exp(x))) without overflow; -infinity for an empty span.
double log_sum_exp(std::span<const double> x);

}  // namespace doublep
