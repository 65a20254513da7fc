// A decoder that takes tensors which lie in its device's memory already, as a model on that device
// has them. No CUDA here: callers know the interface, the backend the device.
#pragma once

#include <array>
#include <cstdint>

#include "core/cost/stages.h"
#include "core/decoder/decoder.h"

namespace doublep {

/// Three dimensions at an address of the device's memory; the last one is contiguous.
struct DeviceTensor {
  const void* data = nullptr;
  KvDtype dtype = KvDtype::kBf16;
  std::array<std::int64_t, 3> shape = {};
  std::array<std::int64_t, 2> strides = {};  ///< of the first two dimensions, in elements
};

class DeviceDecoder : public Decoder {
 public:
  /// As prefill: keys and values [num_kv_heads, tokens, head_dim], queries [positions,
  /// num_query_heads, head_dim] of the prompt's end, or null. All are copied before this returns,
  /// on the device but for the queries. `capacity`: tokens that there will be room for.
  virtual void prefill_on_device(const DeviceTensor& keys, const DeviceTensor& values,
                                 const DeviceTensor* queries, std::int64_t capacity) = 0;
  /// The tokens that follow, after prefill_on_device.
  virtual void append_on_device(const DeviceTensor& keys, const DeviceTensor& values) = 0;
  /// As step, of queries [1, num_query_heads, head_dim] in the cache's type. `output`: float32
  /// [num_query_heads, value_dim] on the device, and the result's own is empty; or null.
  virtual StepResult step_on_device(const DeviceTensor& queries, double softmax_scale,
                                    float* output, Detail detail) = 0;
  // All run in the device's default stream. They throw InputError for what cannot be served, for a
  // prompt with values that are not finite or larger than a trace may hold, and for a step whose
  // logits are not finite; values that join are not looked through.
};

}  // namespace doublep
