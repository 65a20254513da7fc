#include "experiments/python/growing_cache.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/trace/tensor.h"
#include "core/trace/trace_info.h"

namespace doublep::python {
namespace {

std::vector<std::int64_t> shape_of(const TensorIn& tensor) {
  return {tensor.shape.begin(), tensor.shape.end()};
}

}  // namespace

void check_shapes(const TensorIn& keys, const TensorIn& values) {
  for (const TensorIn* tensor : {&keys, &values}) {
    if (!shape_fits(shape_of(*tensor), {kAnyExtent, kAnyExtent, kAnyExtent}))
      fail_input(tensor->name, " has the shape ", shape_text(shape_of(*tensor)),
                 "; expected a KV head, a token and a dimension at least");
    if (tensor->shape[0] > kMaxHeads || tensor->shape[2] > kMaxDim)
      fail_input(tensor->name, " has the shape ", shape_text(shape_of(*tensor)),
                 "; expected at most ", kMaxHeads, " KV heads and ", kMaxDim, " dimensions");
  }
  if (keys.shape[0] != values.shape[0] || keys.shape[1] != values.shape[1])
    fail_input(values.name, " has the shape ", shape_text(shape_of(values)), " beside keys of ",
               shape_text(shape_of(keys)), "; expected as many KV heads and tokens");
}

void require_room(const TensorIn& keys, std::int64_t tokens, std::int64_t capacity) {
  if (tokens > capacity)
    fail_input(keys.name, ": ", tokens, " tokens are more than the capacity of ", capacity,
               "; give the decoder a larger one");
}

void check_joining(const TensorIn& keys, const TensorIn& values, const KvCacheView& cache) {
  check_shapes(keys, values);
  const bool fits = keys.shape[0] == cache.num_kv_heads && keys.shape[2] == cache.head_dim &&
                    values.shape[2] == cache.value_dim;
  if (!fits)
    fail_input(keys.name, " has the shape ", shape_text(shape_of(keys)), " beside values of ",
               shape_text(shape_of(values)), "; prefill saw ", cache.num_kv_heads,
               " KV heads, keys of ", cache.head_dim, " and values of ", cache.value_dim,
               " dimensions");
}

namespace {

// Tokens from one head's first row to the next one's, where both tensors can be viewed with that.
std::int64_t common_capacity(const TensorIn& keys, const TensorIn& values) {
  if (!keys.rows_lie_packed() || !values.rows_lie_packed()) return 0;
  if (keys.shape[0] == 1) return keys.shape[1];
  const std::int64_t capacity = keys.strides[0] / keys.shape[2];
  return capacity >= keys.shape[1] && keys.strides[0] == capacity * keys.shape[2] &&
                 values.strides[0] == capacity * values.shape[2]
             ? capacity
             : 0;
}

// Converted, and checked.
std::vector<float> packed(const TensorIn& tensor) {
  std::vector<float> rows(static_cast<std::size_t>(tensor.size()));
  const std::int64_t stride = tensor.shape[1] * tensor.shape[2];
  copy(tensor, rows.data(), stride);
  check_values(tensor, rows.data(), stride);
  return rows;
}

}  // namespace

GrowingCache::GrowingCache(const TensorIn& keys, const TensorIn& values, const Room& room)
    : fixed_(room.fixed), room_(room.tokens) {
  check_shapes(keys, values);
  view_.num_kv_heads = static_cast<int>(keys.shape[0]);
  view_.head_dim = static_cast<int>(keys.shape[2]);
  view_.value_dim = static_cast<int>(values.shape[2]);
  const std::int64_t length = keys.shape[1];
  if (fixed_) require_room(keys, length, room.tokens);
  view_.capacity = fixed_ ? 0 : common_capacity(keys, values);
  in_place_ = view_.capacity > 0;
  if (in_place_) {
    check_values(keys, keys.floats(), keys.strides[0]);
    check_values(values, values.floats(), values.strides[0]);
    view_.keys = keys.floats(), view_.values = values.floats();
    held_ = {keys.memory, values.memory};
  } else {
    move_to_room_for(std::max(length, room.tokens));
    copy_in(keys, values);
  }
  view_.length = length;
}

void GrowingCache::append(const TensorIn& keys, const TensorIn& values) {
  check_joining(keys, values, view_);
  const std::int64_t length = view_.length + keys.shape[1];
  if (follows(keys, values)) {
    check_values(keys, keys.floats(), keys.strides[0]);
    check_values(values, values.floats(), values.strides[0]);
    held_.push_back(keys.memory), held_.push_back(values.memory);
    view_.capacity = std::max(view_.capacity, length);  // of a single head: no distance to keep
  } else {
    if (fixed_) require_room(keys, length, view_.capacity);
    // Checked before anything moves: a decoder still looks at where it was.
    const std::vector<float> new_keys = packed(keys), new_values = packed(values);
    if (in_place_ || length > view_.capacity)
      move_to_room_for(std::max(room_, length + length / 4 + 256));
    put(new_keys, view_.head_dim, keys_);
    put(new_values, view_.value_dim, values_);
  }
  view_.length = length;
}

bool GrowingCache::follows(const TensorIn& keys, const TensorIn& values) const {
  const bool one_head = view_.num_kv_heads == 1;
  return in_place_ && keys.rows_lie_packed() && values.rows_lie_packed() &&
         keys.floats() == view_.keys + view_.length * view_.head_dim &&
         values.floats() == view_.values + view_.length * view_.value_dim &&
         (one_head || (view_.length + keys.shape[1] <= view_.capacity &&
                       keys.strides[0] == view_.capacity * view_.head_dim &&
                       values.strides[0] == view_.capacity * view_.value_dim));
}

void GrowingCache::move_to_room_for(std::int64_t tokens) {
  KvCacheView moved = view_;
  moved.capacity = tokens;
  const auto rows = static_cast<std::size_t>(view_.num_kv_heads * tokens);
  std::vector<float> keys(rows * static_cast<std::size_t>(view_.head_dim)),
      values(rows * static_cast<std::size_t>(view_.value_dim));
  for (std::int64_t h = 0; h < view_.num_kv_heads; ++h) {
    const std::int64_t from = h * view_.capacity, to = h * tokens;
    std::copy_n(view_.keys + from * view_.head_dim, view_.length * view_.head_dim,
                keys.data() + to * view_.head_dim);
    std::copy_n(view_.values + from * view_.value_dim, view_.length * view_.value_dim,
                values.data() + to * view_.value_dim);
  }
  keys_ = std::move(keys), values_ = std::move(values);
  moved.keys = keys_.data(), moved.values = values_.data();
  view_ = moved;
  in_place_ = false;
  held_.clear();
}

void GrowingCache::copy_in(const TensorIn& keys, const TensorIn& values) {
  const std::int64_t key_stride = view_.capacity * view_.head_dim,
                     value_stride = view_.capacity * view_.value_dim;
  copy(keys, keys_.data(), key_stride);
  copy(values, values_.data(), value_stride);
  check_values(keys, keys_.data(), key_stride);
  check_values(values, values_.data(), value_stride);
}

void GrowingCache::put(const std::vector<float>& rows, int width, std::vector<float>& into) const {
  const auto of_head = static_cast<std::ptrdiff_t>(rows.size()) / view_.num_kv_heads;
  for (std::ptrdiff_t h = 0; h < view_.num_kv_heads; ++h)
    std::copy_n(rows.begin() + h * of_head, of_head,
                into.begin() + (h * view_.capacity + view_.length) * width);
}

}  // namespace doublep::python
