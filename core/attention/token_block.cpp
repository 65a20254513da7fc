#include "core/attention/token_block.h"

#include <vector>

namespace doublep {
namespace {

// A key row is loaded once and multiplied with `Heads` queries; the compiler keeps the accumulators
// of the reduction in vector registers.
template <int Heads>
void logits_of(const float* queries, const float* key, std::int64_t d, float* sums) {
  float sum[Heads] = {};
#pragma GCC unroll 4
  for (int h = 0; h < Heads; ++h) {
    float s = 0;
    const float* q = queries + h * d;
#pragma omp simd reduction(+ : s)
    for (std::int64_t i = 0; i < d; ++i) s += q[i] * key[i];
    sum[h] = s;
  }
  for (int h = 0; h < Heads; ++h) sums[h] = sum[h];
}

template <int Heads>
void values_of(const float* const* rows, const float* weights, std::int64_t stride, std::int64_t d,
               float* output) {
  for (int h = 0; h < Heads; ++h) {
    const float w0 = weights[h * stride], w1 = weights[h * stride + 1],
                w2 = weights[h * stride + 2], w3 = weights[h * stride + 3];
    float* out = output + h * d;
#pragma omp simd
    for (std::int64_t i = 0; i < d; ++i)
      out[i] += (w0 * rows[0][i] + w1 * rows[1][i]) + (w2 * rows[2][i] + w3 * rows[3][i]);
  }
}

}  // namespace

void block_logits(const KvHead& cache, const QueryGroup& heads,
                  std::span<const std::int32_t> tokens, float* logits, std::int64_t stride) {
  const std::int64_t d = heads.head_dim, n = static_cast<std::int64_t>(tokens.size());
  const float scale = static_cast<float>(heads.softmax_scale);
  for (std::int64_t i = 0; i < n; ++i) {
    if (i + 2 < n) __builtin_prefetch(cache.key(tokens[i + 2]));
    int h = 0;
    for (; h + 4 <= heads.size; h += 4) {
      float sums[4];
      logits_of<4>(heads.query(h), cache.key(tokens[i]), d, sums);
      for (int j = 0; j < 4; ++j) logits[(h + j) * stride + i] = scale * sums[j];
    }
    for (; h < heads.size; ++h) {
      float sum;
      logits_of<1>(heads.query(h), cache.key(tokens[i]), d, &sum);
      logits[h * stride + i] = scale * sum;
    }
  }
}

void add_weighted_values(const KvHead& cache, int heads, std::span<const std::int32_t> tokens,
                         const float* weights, std::int64_t stride, float* output) {
  const std::int64_t d = cache.head_dim, n = static_cast<std::int64_t>(tokens.size());
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) {  // four rows at a time: the output is loaded and stored less often
    const float* const rows[4] = {cache.value(tokens[i]), cache.value(tokens[i + 1]),
                                  cache.value(tokens[i + 2]), cache.value(tokens[i + 3])};
    for (int h = 0; h < heads; ++h)
      values_of<1>(rows, weights + h * stride + i, stride, d, output + h * d);
  }
  for (; i < n; ++i) {
    const float* row = cache.value(tokens[i]);
    for (int h = 0; h < heads; ++h) {
      const float w = weights[h * stride + i];
      float* out = output + h * d;
#pragma omp simd
      for (std::int64_t j = 0; j < d; ++j) out[j] += w * row[j];
    }
  }
}

}  // namespace doublep
