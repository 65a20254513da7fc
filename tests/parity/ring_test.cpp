// Dense attention with so few thread blocks that every warp's ring of tiles wraps many times, also
// across the border of pairs of different lengths; both kernels against float64.
#include "cuda/decoder/convert.h"
#include "cuda/step/decode_step.h"
#include "tests/parity/support.h"

namespace doublep::test {
namespace {

using namespace doublep::cuda;

std::vector<float> expected(const Case& c, int head) {
  const std::int64_t d = c.head_dim, base = head / c.group * c.capacity;
  const float* q = c.queries.data() + head * d;
  std::vector<double> logits(c.length), out(d, 0.0);
  double top = -INFINITY, sum = 0;
  for (std::int64_t j = 0; j < c.length; ++j) {
    const float* k = c.keys.data() + (base + j) * d;
    for (std::int64_t i = 0; i < d; ++i) logits[j] += double(q[i]) * k[i];
    top = std::max(top, logits[j] /= std::sqrt(double(d)));
  }
  for (std::int64_t j = 0; j < c.length; ++j) {
    const double p = std::exp(logits[j] - top);
    sum += p;
    for (std::int64_t i = 0; i < d; ++i) out[i] += p * c.values[(base + j) * d + i];
  }
  std::vector<float> result(d);
  for (std::int64_t i = 0; i < d; ++i) result[i] = static_cast<float>(out[i] / sum);
  return result;
}

void check(const std::vector<std::int64_t>& lengths, int kv_heads, int group, int head_dim,
           KvDtype dtype, int blocks) {
  const int batch = static_cast<int>(lengths.size());
  const DType type = dtype == KvDtype::kFp16 ? DType::kFp16 : DType::kBf16;
  const std::int64_t capacity = *std::max_element(lengths.begin(), lengths.end()) + 5;
  Cache cache({batch * kv_heads, kv_heads, group, head_dim}, type, capacity);
  std::vector<Case> cases(batch);
  std::vector<float> queries;
  for (int b = 0; b < batch; ++b) {
    Case& c = cases[b];
    c.dtype = dtype, c.kv_heads = kv_heads, c.group = group, c.head_dim = head_dim;
    c.length = lengths[b], c.capacity = capacity;
    c.fill(b + 1);
    const auto keys = to_device_type(c.keys.data(), c.keys.size(), type),
               values = to_device_type(c.values.data(), c.values.size(), type);
    DP_CUDA(cudaMemcpy(cache.keys(b * kv_heads), keys.data(), keys.size(), cudaMemcpyHostToDevice));
    DP_CUDA(cudaMemcpy(cache.values(b * kv_heads), values.data(), values.size(),
                       cudaMemcpyHostToDevice));
    cache.set_zones(b, 0, 0, static_cast<std::int32_t>(c.length));
    queries.insert(queries.end(), c.queries.begin(), c.queries.end());
  }
  for (const bool registers : {false, true}) {
    StepOptions options;
    options.scale = 1 / std::sqrt(static_cast<float>(head_dim));
    options.attend_blocks = blocks, options.attend_registers = registers;
    DecodeStep step(cache, nullptr, options);
    const auto bytes = to_device_type(queries.data(), queries.size(), type);
    DP_CUDA(cudaMemcpy(step.queries(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
    step.enqueue(nullptr);
    std::vector<float> output(queries.size());
    DP_CUDA(cudaMemcpy(output.data(), step.output(), output.size() * 4, cudaMemcpyDeviceToHost));
    for (int b = 0; b < batch; ++b)
      for (int h = 0; h < kv_heads * group; ++h) {
        INFO((registers ? "registers" : "ring") << ", " << cases[b].text() << ", " << blocks
                                                << " blocks, sequence " << b << ", head " << h);
        const float* mine = output.data() + (b * kv_heads * group + h) * head_dim;
        CHECK(distance(mine, expected(cases[b], h).data(), head_dim) < tolerance(dtype).exact);
      }
  }
}

}  // namespace

TEST_CASE("the ring wraps, within a pair and across pairs", "[parity]") {
  if (without_device()) return;
  for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kFp16})
    for (const int head_dim : {64, 80, 128, 256}) {
      check({700, 33, 1, 1000}, 2, 4, head_dim, dtype, 3);
      check({3001}, 1, 1, head_dim, dtype, 8);  // blocks of its own for the pair
      check({500, 900}, 1, 8, head_dim, dtype, 1);
    }
}

TEST_CASE("a short ring wraps", "[parity][quick][race]") {
  if (without_device()) return;
  check({400, 33}, 2, 2, 128, KvDtype::kBf16, 1);
}

}  // namespace doublep::test
