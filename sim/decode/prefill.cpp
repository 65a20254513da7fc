#include "sim/decode/prefill.h"

#include <algorithm>

namespace doublep::sim {

double prefill_seconds(const Model& model, const Machine& machine, std::int64_t tokens,
                       int tensor_parallel) {
  const double n = static_cast<double>(tokens), degree = tensor_parallel;
  const double rate = machine.efficiency.prefill_share *
                      machine.hardware.flops(std::string(name_of(model.weights)));
  const double products = 2 * n * model.layers * model.layer_parameters() / degree;
  // Causal: half of n^2 scores, and as many weighted values.
  const double attention = 2 * n * n * model.layers * model.query_heads * model.head_dim / degree;
  const double read = model.weight_bytes() / degree /
                      (machine.efficiency[Access::kGemm].share * machine.hardware.bandwidth());
  const Timing reduce = all_reduce_time(
      machine.hardware, n * static_cast<double>(model.hidden) * bytes_of(model.weights),
      tensor_parallel);
  return std::max((products + attention) / rate, read) + 2 * model.layers * reduce.seconds;
}

double build_seconds(const Model& model, const Machine& machine, const Workload& workload,
                     std::int64_t context, int tensor_parallel) {
  const Work build = workload.index(context).build;
  const double heads =
      static_cast<double>(model.layers) * model.kv_heads_on_device(tensor_parallel);
  const double width = static_cast<double>(model.head_dim) / workload.head_dim();
  const double compute =
      build.flops * width / (machine.efficiency.build_share * machine.hardware.flops("bf16"));
  const double memory = build.bytes * width / machine.hardware.bandwidth();
  return heads * std::max(compute, memory);
}

}  // namespace doublep::sim
