#include "experiments/e2e/products.h"

#include <algorithm>

#include "core/base/quantile.h"

namespace doublep::e2e {

Products measure_products(Stack& stack, bench::Timer& timer, int batch, int repeats) {
  stack.enqueue(batch, nullptr, timer.stream());
  DP_CUDA(cudaStreamSynchronize(timer.stream()));
  const auto time = [&](unsigned parts) {
    return quantile(
        timer.graph_times([&](cudaStream_t s) { stack.enqueue(batch, nullptr, s, parts); }, 2,
                          repeats),
        0.5);
  };
  Products p;
  p.batch = batch;
  p.without_attention_us = time(kEverything);
  p.qkv_us = time(kQkv), p.o_us = time(kO), p.gate_up_us = time(kGateUp);
  p.down_us = time(kDown), p.head_us = time(kHead), p.small_us = time(kSmall);
  return p;
}

std::vector<Prefill> measure_prefill(StackShape shape, bench::Timer& timer,
                                     const std::vector<int>& rows, int repeats) {
  if (rows.empty()) return {};
  shape.layers = 1, shape.vocabulary = 128;  // the head is left out: a prompt needs it once
  Stack stack(shape, *std::max_element(rows.begin(), rows.end()));
  const double q = 1.0 * shape.heads * shape.head_dim, kv = 1.0 * shape.kv_heads * shape.head_dim;
  const double weights = shape.hidden * (2 * q + 2 * kv + 3.0 * shape.ffn);
  const unsigned products = kQkv | kO | kGateUp | kDown;
  std::vector<Prefill> found;
  for (const int m : rows) {
    stack.enqueue(m, nullptr, timer.stream(), products);
    DP_CUDA(cudaStreamSynchronize(timer.stream()));
    const auto times = timer.graph_times(
        [&](cudaStream_t s) { stack.enqueue(m, nullptr, s, products); }, 2, repeats);
    found.push_back({m, quantile(times, 0.5), 2 * m * weights});
  }
  return found;
}

}  // namespace doublep::e2e
