#include "sim/decode/memory.h"

#include <algorithm>
#include <cmath>

namespace doublep::sim {
namespace {

MemoryUse per_sequence(const Model& model, const Workload& workload, const DecodePoint& point) {
  MemoryUse use;
  const double heads =
      static_cast<double>(model.layers) * model.kv_heads_on_device(point.tensor_parallel);
  const double tokens = static_cast<double>(point.context) *
                        (point.place == KvPlace::kHost ? point.cache_share : 1.0);
  use.kv = heads * tokens * 2 * model.head_dim * bytes_of(point.kv_dtype);
  use.index = heads * workload.index(point.context).memory_bytes * model.head_dim /
              workload.head_dim() * bytes_of(point.kv_dtype) / bytes_of(KvDtype::kBf16);
  return use;
}

}  // namespace

MemoryUse memory_use(const Model& model, const Workload& workload, const DecodePoint& point) {
  MemoryUse use = per_sequence(model, workload, point);
  use.kv *= point.batch, use.index *= point.batch;
  use.weights = model.weight_bytes() / point.tensor_parallel;
  return use;
}

double sequence_bytes(const Model& model, const Workload& workload, const DecodePoint& point) {
  return per_sequence(model, workload, point).total();
}

int largest_batch(const Model& model, const Machine& machine, const Workload& workload,
                  const DecodePoint& point) {
  const double room = point.memory_share * machine.hardware.memory_capacity.value -
                      model.weight_bytes() / point.tensor_parallel;
  const double each = sequence_bytes(model, workload, point);
  if (room < each) return 0;
  return static_cast<int>(std::min(room / each, 1e6));
}

}  // namespace doublep::sim
