// Views of the KV cache: who owns the memory is the caller's business. No Eigen here, .cu files
// read this header.
#pragma once

#include <cstdint>

namespace doublep {

/// Keys and values of one KV head: float32, row-major [length, head_dim], rotary embedding applied.
struct KvHead {
  const float* keys = nullptr;
  const float* values = nullptr;
  std::int64_t length = 0;  ///< visible tokens
  int head_dim = 0;

  const float* key(std::int64_t token) const { return keys + token * head_dim; }
  const float* value(std::int64_t token) const { return values + token * head_dim; }
};

/// One layer's cache: float32 [num_kv_heads, capacity, head_dim], of which the first `length`
/// tokens of every head are visible. A cache that has grown is the same view with a larger length:
/// rows that were visible before have not moved nor changed.
struct KvCacheView {
  const float* keys = nullptr;
  const float* values = nullptr;
  int num_kv_heads = 0;
  std::int64_t capacity = 0;  ///< rows per head, the stride between heads in tokens
  std::int64_t length = 0;
  int head_dim = 0;

  KvHead head(int kv_head) const {
    const std::int64_t offset = kv_head * capacity * head_dim;
    return {keys + offset, values + offset, length, head_dim};
  }
  KvCacheView first(std::int64_t tokens) const {
    KvCacheView view = *this;
    view.length = tokens;
    return view;
  }
};

}  // namespace doublep
