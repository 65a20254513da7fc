// Host conversions between the reference's float32 and the device's element types.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/half.h"
#include "cuda/common/types.h"

namespace doublep::cuda {

/// `count` floats as the device stores them, rounded to nearest.
inline std::vector<unsigned char> to_device_type(const float* from, std::int64_t count,
                                                 DType type) {
  std::vector<unsigned char> bytes(count * bytes_of(type));
  if (type == DType::kFp32) {
    std::memcpy(bytes.data(), from, bytes.size());
    return bytes;
  }
  auto* out = reinterpret_cast<std::uint16_t*>(bytes.data());
  for (std::int64_t i = 0; i < count; ++i)
    out[i] = type == DType::kFp16 ? float_to_half(from[i]) : float_to_bfloat16(from[i]);
  return bytes;
}

/// Back to float32.
inline void from_device_type(const unsigned char* from, std::int64_t count, DType type, float* to) {
  if (type == DType::kFp32) {
    std::memcpy(to, from, count * sizeof(float));
    return;
  }
  const auto* in = reinterpret_cast<const std::uint16_t*>(from);
  for (std::int64_t i = 0; i < count; ++i)
    to[i] = type == DType::kFp16 ? half_to_float(in[i]) : bfloat16_to_float(in[i]);
}

}  // namespace doublep::cuda
