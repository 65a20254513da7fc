// The KV cache of one layer for a batch of sequences of different lengths, on the device.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "cuda/common/runtime.h"
#include "cuda/common/types.h"

namespace doublep::cuda {

/// Rows of a sequence: [0, sink_end) sinks, then (where clustered) tokens in cluster order, then
/// from tail_begin to length the window and generated tokens. Without an index rows are tokens.
/// A bf16 cache may be packed: its blocks are there in E4M3 as well (core/cache/packed_head.h), and
/// a step reads them so. The rows in 16 bits stay, of which clusters are made anew.
class Cache {
 public:
  Cache(const Shape& shape, DType dtype, std::int64_t capacity);

  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  std::int64_t capacity() const { return capacity_; }
  int batch() const { return shape_.pairs / shape_.kv_heads; }
  /// Bytes of a row of keys (or values).
  std::int64_t row_bytes() const { return shape_.head_dim * bytes_of(dtype_); }
  void* keys(std::int64_t pair = 0) { return keys_.get() + pair * capacity_ * row_bytes(); }
  void* values(std::int64_t pair = 0) { return values_.get() + pair * capacity_ * row_bytes(); }
  std::int32_t* order(std::int64_t pair = 0) { return order_.get() + pair * capacity_; }

  /// Sets a sequence's zones; synchronous.
  void set_zones(int sequence, std::int32_t sink_end, std::int32_t tail_begin, std::int32_t length);
  /// Sets the zones of `sequences` sequences, and numbers their rows as the tokens stand; one
  /// launch.
  void begin(int sequence, int sequences, std::int32_t sink_end, std::int32_t tail_begin,
             std::int32_t length, cudaStream_t stream);
  const std::int32_t* sink_end() const { return sink_end_.get(); }
  const std::int32_t* tail_begin() const { return tail_begin_.get(); }
  const std::int32_t* lengths() const { return lengths_.get(); }
  struct Zones {
    std::int32_t sink_end = 0, tail_begin = 0, length = 0;
  };
  /// As they stand on the device, appended tokens included; synchronous.
  Zones zones(int sequence) const;

  /// One generated token for every sequence joins its tail: keys, values [pairs, head_dim], whose
  /// rows are so many bytes apart (0: row_bytes). Safe in a captured graph.
  void append(const void* keys, const void* values, cudaStream_t stream,
              std::int64_t key_stride = 0, std::int64_t value_stride = 0);
  /// The first `length` rows of a sequence as tokens in their order, to [kv_heads, capacity,
  /// head_dim].
  void in_token_order(int sequence, std::int64_t length, void* keys, void* values,
                      cudaStream_t stream) const;

  bool packed() const { return packed_keys_.size() > 0; }
  /// Makes room for packed rows, of which there are none then, or gives it back. Steps over this
  /// cache must be made anew.
  void keep_packed(bool keep);
  PackedRows packed_rows() const;
  /// Packs the clusters whose rows `offsets` tell, [sequences * kv_heads, offset_stride] of which
  /// the first clusters + 1 count; all rows from the sinks to `end` are packed then.
  void pack_clusters(int sequence, int sequences, const std::int32_t* offsets,
                     std::int64_t offset_stride, std::int32_t clusters, std::int32_t end,
                     cudaStream_t stream);
  /// Packs the rows of a sequence that stand in token order and have no sinks, in whole blocks of
  /// kPackedBlock up to `length`. Synchronous.
  void pack_in_order(int sequence, std::int32_t length, cudaStream_t stream);

 private:
  void pack(int sequence, int sequences, const std::int32_t* offsets, std::int64_t offset_stride,
            std::int32_t first, std::int32_t blocks, std::int32_t end, cudaStream_t stream);

  Shape shape_;
  DType dtype_;
  std::int64_t capacity_;
  DeviceBuffer<unsigned char> keys_, values_;                   // [pairs, capacity, head_dim]
  DeviceBuffer<std::int32_t> order_;                            // [pairs, capacity]: token of a row
  DeviceBuffer<std::int32_t> sink_end_, tail_begin_, lengths_;  // [batch]
  DeviceBuffer<std::uint8_t> packed_keys_, packed_values_;      // as keys_ and values_, or nothing
  DeviceBuffer<float2> packed_steps_;                           // [pairs, capacity]
  DeviceBuffer<std::int32_t> packed_end_;                       // [batch]
};

}  // namespace doublep::cuda
