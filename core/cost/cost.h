// What a step read and computed, by stage. Counted from what the policy really touched, not from a
// formula of its parameters.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace doublep {

enum class Stage { kIndex, kEstimate, kSelect, kAttend };
inline constexpr int kNumStages = 4;
inline constexpr std::array<std::string_view, kNumStages> kStageNames = {"index", "estimate",
                                                                         "select", "attend"};

struct Work {
  double bytes = 0;  ///< bytes read
  double flops = 0;  ///< floating-point operations; an exponential counts as one

  Work& operator+=(const Work& other) {
    bytes += other.bytes, flops += other.flops;
    return *this;
  }
};

struct StepCost {
  std::array<Work, kNumStages> stages{};
  Work& operator[](Stage stage) { return stages[static_cast<int>(stage)]; }
  const Work& operator[](Stage stage) const { return stages[static_cast<int>(stage)]; }
};

/// What an index holds and what building it took (summed over KV heads of a layer).
struct IndexCost {
  double memory_bytes = 0;
  Work build;
};

/// Data type in which the cache and the index's vectors are kept on the machine whose cost is
/// counted. The reference computes in float32 whatever this says.
enum class KvDtype { kFp32, kFp16, kBf16, kFp8 };
/// Throws InputError for a name that is not fp32, fp16, bf16 or fp8.
KvDtype parse_kv_dtype(std::string_view name);
std::string_view name_of(KvDtype dtype);
int bytes_of(KvDtype dtype);

}  // namespace doublep
