// Views of the KV cache and of a decode step's queries, all of a layer or the part that shares a KV
// head (GQA): who owns the memory is the caller's business. No Eigen here, .cu files read this
// header.
#pragma once

#include <cstdint>

namespace doublep {

/// Queries of the last `count` positions of the prompt, oldest first, as they enter the dot
/// product: what an index that adapts to queries may learn from at prefill. Of the heads of one
/// layer, or of those that share a KV head. None (count = 0) where the trace recorded none.
struct PrefillQueries {
  const float* queries = nullptr;  ///< float32 [count, stride]; a row begins with [heads, head_dim]
  std::int64_t count = 0;
  int heads = 0;
  int head_dim = 0;
  std::int64_t stride = 0;  ///< floats from one position to the next

  const float* query(std::int64_t position, int head) const {
    return queries + position * stride + static_cast<std::int64_t>(head) * head_dim;
  }
  /// The query heads that read one KV head.
  PrefillQueries group(int kv_head, int num_kv_heads) const {
    const int size = heads / num_kv_heads;
    return {count > 0 ? query(0, kv_head * size) : nullptr, count, size, head_dim, stride};
  }
};

/// Keys and values of one KV head: float32, row-major [length, head_dim] and [length, value_dim],
/// rotary embedding applied.
struct KvHead {
  const float* keys = nullptr;
  const float* values = nullptr;
  std::int64_t length = 0;  ///< visible tokens
  int head_dim = 0;
  int value_dim = head_dim;  ///< another than head_dim in latent attention (MLA: 576 and 512)
  PrefillQueries prefill_queries = {};  ///< of the query heads that read this KV head

  const float* key(std::int64_t token) const { return keys + token * head_dim; }
  const float* value(std::int64_t token) const { return values + token * value_dim; }
};

/// One layer's cache: float32 [num_kv_heads, capacity, head_dim or value_dim], of which the first
/// `length` tokens of every head are visible. A cache that has grown is the same view with a larger
/// length: rows that were visible before have not moved nor changed.
struct KvCacheView {
  const float* keys = nullptr;
  const float* values = nullptr;
  int num_kv_heads = 0;
  std::int64_t capacity = 0;  ///< rows per head, the stride between heads in tokens
  std::int64_t length = 0;
  int head_dim = 0;
  int value_dim = head_dim;
  PrefillQueries prefill_queries = {};  ///< of all query heads of the layer

  KvHead head(int kv_head) const {
    const std::int64_t first = kv_head * capacity;
    return {keys + first * head_dim,
            values + first * value_dim,
            length,
            head_dim,
            value_dim,
            prefill_queries.group(kv_head, num_kv_heads)};
  }
  KvCacheView first(std::int64_t tokens) const {
    KvCacheView view = *this;
    view.length = tokens;
    return view;
  }
};

/// Query heads that read the same KV head: float32 [size, head_dim].
struct QueryGroup {
  const float* queries = nullptr;
  int size = 0;  ///< query heads per KV head
  int head_dim = 0;
  double softmax_scale = 1;  ///< multiplies every dot product, usually 1/sqrt(head_dim)
  std::int64_t step = 0;     ///< counts the steps of this decoder; keys the sampling policies

  const float* query(int i) const { return queries + static_cast<std::int64_t>(i) * head_dim; }
};

/// All query heads of a layer: float32 [num_query_heads, head_dim]; head h reads KV head
/// h / (num_query_heads / num_kv_heads).
struct QueryBlock {
  const float* queries = nullptr;
  int num_query_heads = 0;
  int head_dim = 0;
  double softmax_scale = 1;
  std::int64_t step = 0;

  QueryGroup group(int kv_head, int num_kv_heads) const {
    const int size = num_query_heads / num_kv_heads;
    return {queries + static_cast<std::int64_t>(kv_head) * size * head_dim, size, head_dim,
            softmax_scale, step};
  }
};

}  // namespace doublep
