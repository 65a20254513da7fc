// Tensors as a caller of the Python package holds them: any strides, three element types, memory of
// his. No Python here, so that all of it runs without the interpreter's lock.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

namespace doublep::python {

/// Three dimensions, or two behind a first one of extent 1.
struct TensorIn {
  enum class Type { kFloat32, kFloat16, kBfloat16 };
  std::string name;    ///< for messages: "append: k"
  int dimensions = 3;  ///< that the caller gave, for messages
  Type type = Type::kFloat32;
  bool on_gpu = false;  ///< `data` is an address of a GPU's memory: nothing here may read it
  const void* data = nullptr;
  std::shared_ptr<const void> memory = {};  ///< keeps `data` alive; may be dropped in any thread
  std::array<std::int64_t, 3> shape = {}, strides = {};  ///< strides in elements

  std::int64_t size() const { return shape[0] * shape[1] * shape[2]; }
  const float* floats() const { return static_cast<const float*>(data); }
  /// float32 whose two inner dimensions lie row after row without a gap: no copy is needed of them.
  bool rows_lie_packed() const;
  /// All three do.
  bool lies_packed() const;
};

/// Converts to float32: [shape[0]] blocks of [shape[1], shape[2]], `outer_stride` floats from one
/// to the next.
void copy(const TensorIn& from, float* to, std::int64_t outer_stride);

/// Throws InputError with the first index that holds NaN, infinity or more than a trace may hold
/// (core/trace/tensor.h). `floats`: the tensor's values as `copy` lays them out.
void check_values(const TensorIn& tensor, const float* floats, std::int64_t outer_stride);

}  // namespace doublep::python
