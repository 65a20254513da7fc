// The queries of one decode step of one layer, and the part of them that shares a KV head (GQA).
#pragma once

#include <cstdint>

namespace doublep {

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
