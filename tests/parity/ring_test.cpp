// Dense attention with so few thread blocks that every warp's ring of tiles wraps many times, also
// across the border of pairs of different lengths; both kernels against float64.
#include "core/cache/packed_head.h"
#include "tests/parity/batch.h"

namespace doublep::test {
namespace {

void check(const std::vector<std::int64_t>& lengths, int kv_heads, int group, int head_dim,
           KvDtype dtype, int blocks) {
  const int batch = static_cast<int>(lengths.size());
  const DType type = dtype == KvDtype::kFp16 ? DType::kFp16 : DType::kBf16;
  const std::int64_t capacity = *std::max_element(lengths.begin(), lengths.end()) + 5;
  Cache cache({batch * kv_heads, kv_heads, group, head_dim}, type, capacity);
  cache.keep_packed(dtype == KvDtype::kFp8);
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
    if (dtype == KvDtype::kFp8) {
      cache.pack_in_order(b, static_cast<std::int32_t>(c.length), nullptr);
      for (int h = 0; h < kv_heads; ++h) {  // attended as core stores them
        PackedHead packed;
        packed.extend(c.cache().head(h)), packed.pack_in_order();
        const KvHead stored = packed.stored(c.cache().head(h));
        const std::int64_t first = h * capacity * head_dim, count = c.length * head_dim;
        std::copy_n(stored.keys, count, c.keys.begin() + first);
        std::copy_n(stored.values, count, c.values.begin() + first);
      }
    }
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
        const auto expected = attend_tokens(cases[b], h / group, h % group, all_tokens(lengths[b]));
        const float* mine = output.data() + (b * kv_heads * group + h) * head_dim;
        CHECK(distance(mine, expected.data(), head_dim) < tolerance(dtype).exact);
      }
  }
}

}  // namespace

TEST_CASE("the ring wraps, within a pair and across pairs", "[parity]") {
  if (without_device()) return;
  for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kFp16, KvDtype::kFp8})
    for (const int head_dim : {64, 80, 128, 256}) {
      check({700, 33, 1, 1000}, 2, 4, head_dim, dtype, 3);
      check({3001}, 1, 1, head_dim, dtype, 8);  // blocks of its own for the pair
      check({500, 900}, 1, 8, head_dim, dtype, 1);
    }
}

TEST_CASE("a short ring wraps", "[parity][quick][race]") {
  if (without_device()) return;
  check({400, 33}, 2, 2, 128, KvDtype::kBf16, 1);
  check({400, 33}, 2, 2, 128, KvDtype::kFp8, 1);
}

}  // namespace doublep::test
