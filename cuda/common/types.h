// What every kernel's parameters speak of, and from a run-time head dimension to the template that
// was built for it. No Eigen, no framework.
#pragma once

#include <vector_types.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace doublep::cuda {

/// Element type of keys, values, centroids and mean values on the device.
enum class DType { kFp32, kFp16, kBf16 };

inline int bytes_of(DType type) { return type == DType::kFp32 ? 4 : 2; }

/// A pair is one KV head of one sequence: pair = sequence * kv_heads + kv_head. Query head h of the
/// layer reads KV head h / group, so the heads of a pair are contiguous in every [batch, heads]
/// array.
struct Shape {
  int pairs = 0;     ///< batch * kv_heads
  int kv_heads = 0;  ///< KV heads of one sequence
  int group = 0;     ///< query heads per KV head, 1 to 8
  int head_dim = 0;  ///< 64, 80, 128 or 256
};

/// Rows of one cluster (or page, or any contiguous stretch), at most kTile of them: one unit of
/// exact attention work. `meta` = count | head_mask << 8: bit g of the mask says that query head g
/// of the pair attends these rows.
struct Run {
  std::uint32_t row;
  std::uint32_t meta;
};
inline constexpr int kTile = 16;

/// Rows of a bf16 cache that are stored in E4M3 as well, which are read instead: those of a
/// sequence from `begin` to `end`. A run, and a tile of neighbouring rows, lies within one block of
/// them or outside.
struct PackedRows {
  const std::uint8_t *keys = nullptr, *values = nullptr;  ///< [pairs, capacity, head_dim]; or null
  const float2* steps = nullptr;  ///< [pairs, capacity]: of a row's keys and values
  const std::int32_t *begin = nullptr, *end = nullptr;  ///< [pairs / kv_heads]
};

/// Cluster terms and single tokens: id in the low 24 bits, head mask in the high 8.
inline constexpr std::uint32_t kIdBits = 24;
inline constexpr std::uint32_t kIdMask = (1u << kIdBits) - 1;

inline constexpr int kMaxGroup = 8;

template <class Visit>
auto for_head_dim(int head_dim, Visit visit) {
  switch (head_dim) {
    case 64:
      return visit(std::integral_constant<int, 64>{});
    case 80:
      return visit(std::integral_constant<int, 80>{});
    case 128:
      return visit(std::integral_constant<int, 128>{});
    case 256:
      return visit(std::integral_constant<int, 256>{});
    default:
      throw std::invalid_argument("no kernel for head_dim " + std::to_string(head_dim) +
                                  "; there are 64, 80, 128, 256");
  }
}

}  // namespace doublep::cuda
