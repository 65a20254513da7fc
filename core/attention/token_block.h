// What attention is made of: the two inner loops over a block of tokens, each reading a row once
// for up to four heads of the group, and the merge of partial results, the one place where running
// maxima are rescaled. No Eigen here; the GPU backend merges with the same rule (online softmax,
// arXiv 1805.02867).
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

#include "core/cache/kv_cache.h"

namespace doublep {

/// logits[h * stride + i] = scale * q_h . k_{tokens[i]}; float32. Also asks the memory for the
/// tokens' values, which are read next.
void block_logits(const KvHead& cache, const QueryGroup& heads,
                  std::span<const std::int32_t> tokens, float* logits, std::int64_t stride);

/// output[h, :] += sum_i weights[h * stride + i] * v_{tokens[i]}; float32 [heads, value_dim].
void add_weighted_values(const KvHead& cache, int heads, std::span<const std::int32_t> tokens,
                         const float* weights, std::int64_t stride, float* output);

/// sum exp(x_j - max) v_j and sum exp(x_j - max) over some keys; empty: max = -infinity, sum = 0.
struct SoftmaxState {
  double max = -std::numeric_limits<double>::infinity();
  double sum = 0;

  /// Raises the running maximum to cover `logit`; returns the factor that old sums must be
  /// multiplied with (1 where nothing changed, 0 where there was nothing).
  double raise(double logit) {
    if (!(logit > max)) return 1;
    const double factor = std::exp(max - logit);  // exp(-infinity) = 0 for an empty state
    max = logit, sum *= factor;
    return factor;
  }
  double log_sum_exp() const { return sum > 0 ? max + std::log(sum) : max; }
};

}  // namespace doublep
