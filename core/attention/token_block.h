// The two inner loops of attention over a block of tokens, each reading a row once for up to four
// heads of the group.
#pragma once

#include <cstdint>
#include <span>

#include "core/cache/kv_cache.h"
#include "core/cache/query_block.h"

namespace doublep {

/// logits[h * stride + i] = scale * q_h . k_{tokens[i]}; float32. Also asks the memory for the
/// tokens' values, which are read next.
void block_logits(const KvHead& cache, const QueryGroup& heads,
                  std::span<const std::int32_t> tokens, float* logits, std::int64_t stride);

/// output[h, :] += sum_i weights[h * stride + i] * v_{tokens[i]}; float32 [heads, value_dim].
void add_weighted_values(const KvHead& cache, int heads, std::span<const std::int32_t> tokens,
                         const float* weights, std::int64_t stride, float* output);

}  // namespace doublep
