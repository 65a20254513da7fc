// What a served batch occupies on one device.
#pragma once

#include "sim/decode/decode.h"

namespace doublep::sim {

struct MemoryUse {
  double weights = 0, kv = 0, index = 0;  ///< bytes on one device
  double total() const { return weights + kv + index; }
};

/// Weights are split over the devices, KV heads too; the index belongs to its KV heads. With the
/// cache on the host, the device holds `cache_share` of it and the whole index.
MemoryUse memory_use(const Model& model, const Workload& workload, const DecodePoint& point);

/// Bytes that one more sequence of this context takes on a device.
double sequence_bytes(const Model& model, const Workload& workload, const DecodePoint& point);

/// The largest batch that fits; 0 where the weights alone do not.
int largest_batch(const Model& model, const Machine& machine, const Workload& workload,
                  const DecodePoint& point);

}  // namespace doublep::sim
