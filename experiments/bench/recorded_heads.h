// What the benchmark attends: recorded heads, tiled up to the context where they are shorter.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/base/matrix.h"
#include "core/cache/kv_cache.h"
#include "cuda/common/runtime.h"
#include "experiments/bench/device_tools.h"

namespace doublep::bench {

/// The KV heads of some traces' layers, on the device, and their last queries.
class RecordedHeads {
 public:
  /// Every trace must have the same head_dim and group size. Layers and heads are taken in turn
  /// until there are kv_heads of them for every one of `layers` (around again where the traces have
  /// fewer).
  RecordedHeads(const std::vector<std::string>& traces, int kv_heads, float noise, int layers = 1);

  int kv_heads() const { return kv_heads_; }
  int group() const { return group_; }
  int head_dim() const { return head_dim_; }
  float scale() const { return scale_; }
  std::string description() const { return description_; }

  // kv_head: from 0 on, kv_heads() a layer.

  /// Fills one KV head of one sequence: keys or values, bfloat16 [context, head_dim].
  void fill(bool keys, int sequence, int kv_head, std::int64_t context, void* out,
            cudaStream_t stream) const;
  /// Those of the prompt that the trace recorded of a KV head's group; none where it has none.
  PrefillQueries prefill_queries(int kv_head) const;
  /// What was learnt over them under a name: it takes longer than what is timed.
  using Factors = std::vector<VectorD>;
  std::map<std::string, Factors>& learnt() const { return learnt_; }
  /// Queries of a sequence, of the heads of a layer that begins with `first` KV head, bfloat16
  /// [kv_heads * group, head_dim].
  std::vector<std::uint16_t> queries(int sequence, int step, int first) const;

 private:
  struct Head {
    cuda::DeviceBuffer<float> keys, values;  // [rows, head_dim]
    std::int64_t rows = 0;
    cuda::DeviceBuffer<float> key_spread, value_spread;  // standard deviation by dimension
    std::vector<float> queries;                          // [num_queries, group, head_dim]
    std::vector<float> prompt;                           // [positions, group, head_dim]
  };
  std::vector<Head> heads_;
  mutable std::map<std::string, Factors> learnt_;
  int kv_heads_, group_ = 0, head_dim_ = 0, num_queries_ = 0;
  float scale_ = 1, noise_;
  std::string description_;
};

}  // namespace doublep::bench
