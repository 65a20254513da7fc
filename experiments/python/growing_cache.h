// The cache of one layer behind a Decoder of the Python package: the caller's memory as long as
// that is possible, then a copy with room to grow.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/cache/kv_cache.h"
#include "experiments/python/tensor_in.h"

namespace doublep::python {

/// Throws InputError for shapes that no cache has.
void check_shapes(const TensorIn& keys, const TensorIn& values);
/// Throws InputError where a cache that cannot move has no room for `tokens`.
void require_room(const TensorIn& keys, std::int64_t tokens, std::int64_t capacity);
/// As check_shapes, of what joins a cache.
void check_joining(const TensorIn& keys, const TensorIn& values, const KvCacheView& cache);

class GrowingCache {
 public:
  /// How many tokens there is room for. A cache that cannot move (on a GPU) refuses more.
  struct Room {
    std::int64_t tokens = 0;
    bool fixed = false;
  };

  GrowingCache() = default;
  /// `keys` [num_kv_heads, length, head_dim], `values` [num_kv_heads, length, value_dim]. Views
  /// them in place where they are float32 and rows lie packed, with one distance between heads for
  /// both, and the room is not fixed. Throws InputError for shapes and values that no cache has.
  GrowingCache(const TensorIn& keys, const TensorIn& values, const Room& room);
  GrowingCache(GrowingCache&&) = default;
  GrowingCache& operator=(GrowingCache&&) = default;

  /// The tokens that follow. In place where they follow in the caller's memory too, as the next
  /// rows of a larger array do; else all moves to a copy. Throws InputError.
  void append(const TensorIn& keys, const TensorIn& values);

  const KvCacheView& view() const { return view_; }
  void attach(const PrefillQueries& queries) { view_.prefill_queries = queries; }
  /// Does the view read the caller's memory? It is held as long.
  bool in_place() const { return in_place_; }

 private:
  bool follows(const TensorIn& keys, const TensorIn& values) const;
  void move_to_room_for(std::int64_t tokens);
  void copy_in(const TensorIn& keys, const TensorIn& values);
  /// [num_kv_heads, tokens, width] behind the visible rows of `into`.
  void put(const std::vector<float>& rows, int width, std::vector<float>& into) const;

  KvCacheView view_;
  bool in_place_ = false, fixed_ = false;
  std::int64_t room_ = 0;
  std::vector<std::shared_ptr<const void>> held_;
  std::vector<float> keys_, values_;
};

}  // namespace doublep::python
