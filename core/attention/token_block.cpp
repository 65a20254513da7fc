#include "core/attention/token_block.h"

#include <algorithm>
#include <cstring>

namespace doublep {
namespace {

// Eight floats. GCC and Clang lower the type to what the target has (DOUBLEP_ARCH): one AVX
// register or two of SSE. Sums stay in registers, which neither manages with arrays and vectorised
// loops. A wider type gains nothing here: memory is the limit.
constexpr std::int64_t kLanes = 8;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

// Tiles have eight sums: as many as hide the latency of a multiply-add, with registers to spare.
constexpr int kSums = 8;

inline Lanes load(const float* p) {
  Lanes v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store(float* p, const Lanes& v) { std::memcpy(p, &v, sizeof v); }

// Neighbours added, a's and b's in turn.
inline Lanes fold(const Lanes& a, const Lanes& b) {
  return __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14) +
         __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
}

// The sums of eight registers at once.
inline void sum_lanes(const Lanes (&v)[kSums], float (&sums)[kSums]) {
  const Lanes ab = fold(v[0], v[1]), cd = fold(v[2], v[3]);
  const Lanes ef = fold(v[4], v[5]), gh = fold(v[6], v[7]);
  // ab: a0+a1 b0+b1 a2+a3 b2+b3 ...; pairs of lanes come together in the next two steps.
  const Lanes abcd = __builtin_shufflevector(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13) +
                     __builtin_shufflevector(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
  const Lanes efgh = __builtin_shufflevector(ef, gh, 0, 1, 8, 9, 4, 5, 12, 13) +
                     __builtin_shufflevector(ef, gh, 2, 3, 10, 11, 6, 7, 14, 15);
  const Lanes all = __builtin_shufflevector(abcd, efgh, 0, 1, 2, 3, 8, 9, 10, 11) +
                    __builtin_shufflevector(abcd, efgh, 4, 5, 6, 7, 12, 13, 14, 15);
  std::memcpy(sums, &all, sizeof all);
}

inline void prefetch_row(const float* row, std::int64_t d) {
  constexpr std::int64_t kLine = 64 / sizeof(float);
  for (std::int64_t i = 0; i < d; i += kLine) __builtin_prefetch(row + i, 0, 2);
}

// logits[h * stride + t] = scale * q_h . k_t for Heads x (kSums / Heads) of them.
template <int Heads>
void logit_tile(const float* queries, const float* const* keys, std::int64_t d, float scale,
                float* logits, std::int64_t stride) {
  constexpr int kTokens = kSums / Heads;
  Lanes lanes[kSums] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= d; i += kLanes) {
    Lanes key[kTokens];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) key[t] = load(keys[t] + i);
#pragma GCC unroll 4
    for (int h = 0; h < Heads; ++h) {
      const Lanes query = load(queries + h * d + i);
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) lanes[h * kTokens + t] += query * key[t];
    }
  }
  float sums[kSums];
  sum_lanes(lanes, sums);
  for (; i < d; ++i)
    for (int h = 0; h < Heads; ++h)
      for (int t = 0; t < kTokens; ++t) sums[h * kTokens + t] += queries[h * d + i] * keys[t][i];
#pragma GCC unroll 4
  for (int h = 0; h < Heads; ++h)
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) logits[h * stride + t] = scale * sums[h * kTokens + t];
}

template <int Heads>
void logits_of(const KvHead& cache, const float* queries, float scale,
               std::span<const std::int32_t> tokens, float* logits, std::int64_t stride) {
  constexpr int kTokens = kSums / Heads;
  const std::int64_t d = cache.head_dim, n = static_cast<std::int64_t>(tokens.size());
  const float* keys[kTokens];
  std::int64_t i = 0;
  for (; i + kTokens <= n; i += kTokens) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      keys[t] = cache.key(tokens[i + t]);
      prefetch_row(cache.value(tokens[i + t]), cache.value_dim);
    }
    logit_tile<Heads>(queries, keys, d, scale, logits + i, stride);
  }
  if (i == n) return;
  for (int t = 0; t < kTokens; ++t) keys[t] = cache.key(tokens[std::min(i + t, n - 1)]);
  float rest[kSums];
  logit_tile<Heads>(queries, keys, d, scale, rest, kTokens);
  for (int h = 0; h < Heads; ++h)
    for (std::int64_t t = i; t < n; ++t) logits[h * stride + t] = rest[h * kTokens + t - i];
}

// Channels [begin, begin + Columns * kLanes) of every head's output.
template <int Heads, int Columns>
void value_tile(const KvHead& cache, std::span<const std::int32_t> tokens, const float* weights,
                std::int64_t stride, std::int64_t begin, float* output) {
  const std::int64_t d = cache.value_dim, n = static_cast<std::int64_t>(tokens.size());
  Lanes sums[Heads][Columns];
#pragma GCC unroll 4
  for (int h = 0; h < Heads; ++h)
#pragma GCC unroll 8
    for (int c = 0; c < Columns; ++c) sums[h][c] = load(output + h * d + begin + c * kLanes);
  for (std::int64_t i = 0; i < n; ++i) {
    const float* row = cache.value(tokens[i]) + begin;
    Lanes value[Columns];
#pragma GCC unroll 8
    for (int c = 0; c < Columns; ++c) value[c] = load(row + c * kLanes);
#pragma GCC unroll 4
    for (int h = 0; h < Heads; ++h)
#pragma GCC unroll 8
      for (int c = 0; c < Columns; ++c) sums[h][c] += weights[h * stride + i] * value[c];
  }
#pragma GCC unroll 4
  for (int h = 0; h < Heads; ++h)
#pragma GCC unroll 8
    for (int c = 0; c < Columns; ++c) store(output + h * d + begin + c * kLanes, sums[h][c]);
}

template <int Heads>
void values_of(const KvHead& cache, std::span<const std::int32_t> tokens, const float* weights,
               std::int64_t stride, float* output) {
  constexpr int kColumns = kSums / Heads;
  const std::int64_t d = cache.value_dim;
  std::int64_t c = 0;
  for (; c + kColumns * kLanes <= d; c += kColumns * kLanes)
    value_tile<Heads, kColumns>(cache, tokens, weights, stride, c, output);
  for (; c + kLanes <= d; c += kLanes)
    value_tile<Heads, 1>(cache, tokens, weights, stride, c, output);
  for (; c < d; ++c)
    for (std::size_t i = 0; i < tokens.size(); ++i)
      for (int h = 0; h < Heads; ++h)
        output[h * d + c] += weights[h * stride + i] * cache.value(tokens[i])[c];
}

}  // namespace

void block_logits(const KvHead& cache, const QueryGroup& heads,
                  std::span<const std::int32_t> tokens, float* logits, std::int64_t stride) {
  const float scale = static_cast<float>(heads.softmax_scale);
  int h = 0;
  for (; h + 4 <= heads.size; h += 4)
    logits_of<4>(cache, heads.query(h), scale, tokens, logits + h * stride, stride);
  for (; h < heads.size; ++h)
    logits_of<1>(cache, heads.query(h), scale, tokens, logits + h * stride, stride);
}

void add_weighted_values(const KvHead& cache, int heads, std::span<const std::int32_t> tokens,
                         const float* weights, std::int64_t stride, float* output) {
  int h = 0;
  for (; h + 4 <= heads; h += 4)
    values_of<4>(cache, tokens, weights + h * stride, stride, output + h * cache.value_dim);
  for (; h < heads; ++h)
    values_of<1>(cache, tokens, weights + h * stride, stride, output + h * cache.value_dim);
}

}  // namespace doublep
