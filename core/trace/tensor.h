// A tensor of a trace as it is stored: types, shapes, and values on their way to float32.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace doublep {

enum class StoredType { kFloat16, kBfloat16, kFloat32 };

/// In an expected shape: any extent, of at least 1.
inline constexpr std::int64_t kAnyExtent = -1;

/// Largest magnitude that a value may have. Nothing recorded comes near it, and below it neither
/// dot products nor squared distances can overflow float32.
inline constexpr double kLargestValue = 1e15;

/// "[2, 4096, 128]"; an extent that may be any is "any".
std::string shape_text(const std::vector<std::int64_t>& shape);
bool shape_fits(const std::vector<std::int64_t>& found, const std::vector<std::int64_t>& expected);
/// Number of values; as a real number, since a damaged header's product overflows integers.
double num_values(const std::vector<std::int64_t>& shape);

/// 16-bit values (kFloat16 or kBfloat16) to float32.
void widen(StoredType type, const std::vector<std::uint16_t>& bits, float* out);

/// Where the first value is that is NaN, infinity or more than kLargestValue; `size` for none.
std::int64_t find_unfit(const float* values, std::int64_t size);

/// Throws InputError with the first index that holds NaN, infinity or more than kLargestValue.
/// `block`: `size` values of a tensor of that shape, row-major, from the `offset`th on; `place` is
/// "file: tensor name".
void check_values(const float* block, std::int64_t size, std::int64_t offset,
                  const std::vector<std::int64_t>& shape, const std::string& place);

}  // namespace doublep
