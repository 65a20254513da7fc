// Rows of tensors that a caller has on the device: copied, brought to the host, looked through.
#pragma once

#include <cstdint>
#include <vector>

#include "core/decoder/device_decoder.h"
#include "cuda/common/types.h"

namespace doublep::cuda {

/// [heads, tokens, dim] to rows [first, first + tokens) of [heads, capacity, dim].
void copy_rows(const DeviceTensor& from, void* to, std::int64_t capacity, std::int64_t first);

/// Packed float32 in host memory; synchronous.
std::vector<float> to_host(const DeviceTensor& from);

/// Is every value of the first `rows` rows of [heads, capacity, dim] finite, and at most
/// kLargestValue in magnitude (core/trace/tensor.h)? Synchronous.
bool rows_fit(const void* values, DType type, int heads, std::int64_t capacity, std::int64_t rows,
              int dim);

}  // namespace doublep::cuda
