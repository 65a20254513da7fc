// How the numbers of weights and of a cache lie in memory: bits of an element, and what scales
// take.
#pragma once

#include <string_view>

namespace doublep::sim {

enum class Format { kFp32, kFp16, kBf16, kFp8, kInt8, kInt4 };
/// Throws InputError for a name that is not fp32, fp16, bf16, fp8, int8 or int4.
Format parse_format(std::string_view name);
std::string_view name_of(Format format);

/// Elements that share a scale and a minimum, of weights (as GPTQ and AWQ checkpoints have it) and
/// of a cache (KIVI, arXiv 2402.02750).
inline constexpr int kWeightGroup = 128, kCacheGroup = 32;
/// A scale and a minimum of 16 bits each.
inline constexpr double kGroupBytes = 4;

struct Storage {
  Format format = Format::kBf16;
  int group = kWeightGroup;  ///< elements of a row that share a scale; int8 and int4 only

  bool integer() const { return format == Format::kInt8 || format == Format::kInt4; }
  /// 8 bits or less: an index over such a cache, its sinks and its window stay in 16 bits.
  bool packed() const { return integer() || format == Format::kFp8; }
  /// Bytes of an element without scales.
  double element_bytes() const;
  /// Of a row of so many elements; of integers with ceil(elements / group) times kGroupBytes.
  double row_bytes(double elements) const;
  /// Of what products read and write beside the weights: 16 bits where these are integers.
  double activation_bytes() const { return integer() ? 2 : element_bytes(); }
  /// The type that a product computes in: integers are widened to 16 bits first.
  std::string_view compute() const { return integer() ? "bf16" : name_of(format); }
  /// Of embedding, output head and router, which checkpoints of integers leave in 16 bits.
  Storage unquantised() const { return integer() ? Storage{} : *this; }
};

}  // namespace doublep::sim
