#include "experiments/python/tensor_in.h"

#include <cstring>
#include <vector>

#include "core/base/error.h"
#include "core/base/half.h"
#include "core/trace/tensor.h"

namespace doublep::python {
namespace {

template <class Stored, class Convert>
void convert(const TensorIn& from, float* to, std::int64_t outer_stride, Convert value_of) {
  const auto* bytes = static_cast<const unsigned char*>(from.data);
  for (std::int64_t a = 0; a < from.shape[0]; ++a)
    for (std::int64_t b = 0; b < from.shape[1]; ++b) {
      float* row = to + a * outer_stride + b * from.shape[2];
      const std::int64_t first = a * from.strides[0] + b * from.strides[1];
      for (std::int64_t c = 0; c < from.shape[2]; ++c) {
        Stored stored;  // maybe not aligned
        std::memcpy(&stored, bytes + (first + c * from.strides[2]) * std::int64_t{sizeof stored},
                    sizeof stored);
        row[c] = value_of(stored);
      }
    }
}

// A dimension of extent 1 may have any stride.
bool strides_are(const TensorIn& tensor, int dimension, std::int64_t stride) {
  return tensor.shape[dimension] == 1 || tensor.strides[dimension] == stride;
}

}  // namespace

bool TensorIn::rows_lie_packed() const {
  return type == Type::kFloat32 && reinterpret_cast<std::uintptr_t>(data) % alignof(float) == 0 &&
         strides_are(*this, 2, 1) && strides_are(*this, 1, shape[2]);
}

bool TensorIn::lies_packed() const {
  return rows_lie_packed() && strides_are(*this, 0, shape[1] * shape[2]);
}

void copy(const TensorIn& from, float* to, std::int64_t outer_stride) {
  if (from.rows_lie_packed()) {
    const auto row_bytes = static_cast<std::size_t>(from.shape[1] * from.shape[2]) * sizeof(float);
    for (std::int64_t a = 0; a < from.shape[0]; ++a)
      std::memcpy(to + a * outer_stride, from.floats() + a * from.strides[0], row_bytes);
    return;
  }
  switch (from.type) {
    case TensorIn::Type::kFloat32:
      return convert<float>(from, to, outer_stride, [](float x) { return x; });
    case TensorIn::Type::kFloat16:
      return convert<std::uint16_t>(from, to, outer_stride, half_to_float);
    case TensorIn::Type::kBfloat16:
      return convert<std::uint16_t>(from, to, outer_stride, bfloat16_to_float);
  }
}

void check_values(const TensorIn& tensor, const float* floats, std::int64_t outer_stride) {
  const std::int64_t block = tensor.shape[1] * tensor.shape[2];
  for (std::int64_t a = 0; a < tensor.shape[0]; ++a) {
    const float* values = floats + a * outer_stride;
    const std::int64_t at = find_unfit(values, block);
    if (at == block) continue;
    std::vector<std::int64_t> index = {a, at / tensor.shape[2], at % tensor.shape[2]};
    if (tensor.dimensions == 2) index.erase(index.begin());
    fail_input(tensor.name, shape_text(index), " is ", values[at],
               "; expected finite values of at most ", kLargestValue,
               " in magnitude, look for what made it");
  }
}

}  // namespace doublep::python
