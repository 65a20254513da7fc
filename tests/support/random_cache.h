// Small caches and queries of one layer, drawn from the counter-based generator: the same on every
// machine, and owned here so that views stay valid.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "core/base/random.h"
#include "core/cache/kv_cache.h"

namespace doublep::test {

/// Positions of tokens, as a selection has them.
using Tokens = std::vector<std::int32_t>;

struct CacheShape {
  int kv_heads = 2;
  int group = 2;
  std::int64_t tokens = 200;
  int head_dim = 16;
  std::int64_t steps = 1;
  int value_dim = head_dim;
};

/// Keys around a few random directions (so that k-means finds something), queries near some of
/// them.
struct RandomCache {
  CacheShape shape;
  std::vector<float> keys, values, queries;

  explicit RandomCache(const CacheShape& s, std::uint64_t seed = 1, double spread = 0.5)
      : shape(s),
        keys(static_cast<std::size_t>(s.kv_heads * s.tokens * s.head_dim)),
        values(static_cast<std::size_t>(s.kv_heads * s.tokens * s.value_dim)),
        queries(static_cast<std::size_t>(s.steps * s.kv_heads * s.group * s.head_dim)) {
    const CounterRng centre(seed, 1), noise(seed, 2), value(seed, 3), query(seed, 4);
    const std::int64_t d = s.head_dim;
    for (std::int64_t row = 0; row < s.kv_heads * s.tokens; ++row) {
      const auto topic = static_cast<std::int64_t>(centre.below(row, 5));
      for (std::int64_t i = 0; i < d; ++i)
        keys[row * d + i] = static_cast<float>(centre.normal(1000 + topic * d + i) +
                                               spread * noise.normal(row * d + i));
    }
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(value.normal(i));
    for (std::size_t i = 0; i < queries.size(); ++i)
      queries[i] = static_cast<float>(query.normal(i) + centre.normal(1000 + i % d));
  }

  double scale() const { return 1 / std::sqrt(static_cast<double>(shape.head_dim)); }
  KvCacheView view() const {
    return {keys.data(),  values.data(),  shape.kv_heads, shape.tokens,
            shape.tokens, shape.head_dim, shape.value_dim};
  }
  KvHead head(int h = 0) const { return view().head(h); }
  QueryBlock block(std::int64_t step = 0) const {
    const int heads = shape.kv_heads * shape.group;
    return {queries.data() + step * heads * shape.head_dim, heads, shape.head_dim, scale(), step};
  }
  QueryGroup group(int h = 0, std::int64_t step = 0) const {
    return block(step).group(h, shape.kv_heads);
  }
};

/// A head of tokens given row by row, for cases worked by hand.
struct HandCache {
  std::vector<float> keys, values;
  int head_dim;

  HandCache(int d, std::vector<float> k, std::vector<float> v)
      : keys(std::move(k)), values(std::move(v)), head_dim(d) {}
  std::int64_t tokens() const { return static_cast<std::int64_t>(keys.size()) / head_dim; }
  KvHead head() const { return {keys.data(), values.data(), tokens(), head_dim}; }
  KvHead first(std::int64_t n) const { return {keys.data(), values.data(), n, head_dim}; }
};

}  // namespace doublep::test
