// A batch of sequences on the device without a decoder around it.
#pragma once

#include <numeric>

#include "cuda/decoder/convert.h"
#include "cuda/step/decode_step.h"
#include "tests/parity/support.h"

namespace doublep::test {

using namespace doublep::cuda;

inline constexpr int kDim = 128, kGroup = 4, kHeads = 2;
inline constexpr float kScale = 0.08838834764f;

/// Sequences in one cache; row j of pair p is token j until an index reorders it.
struct Batch {
  std::vector<Case> cases;
  std::unique_ptr<Cache> cache;
  DeviceBuffer<unsigned char> source_keys, source_values;  // token order, same shape as the cache

  explicit Batch(const std::vector<std::int64_t>& lengths, std::int64_t capacity = 800) {
    const int batch = static_cast<int>(lengths.size());
    cache = std::make_unique<Cache>(Shape{batch * kHeads, kHeads, kGroup, kDim}, DType::kBf16,
                                    capacity);
    std::vector<unsigned char> keys, values;
    for (int b = 0; b < batch; ++b) {
      Case c;
      c.length = lengths[b], c.capacity = capacity;
      c.fill(b + 1);
      const auto k = to_device_type(c.keys.data(), c.keys.size(), DType::kBf16);
      const auto v = to_device_type(c.values.data(), c.values.size(), DType::kBf16);
      keys.insert(keys.end(), k.begin(), k.end()), values.insert(values.end(), v.begin(), v.end());
      cases.push_back(std::move(c));
    }
    source_keys.upload(keys), source_values.upload(values);
    DP_CUDA(cudaMemcpy(cache->keys(), keys.data(), keys.size(), cudaMemcpyHostToDevice));
    DP_CUDA(cudaMemcpy(cache->values(), values.data(), values.size(), cudaMemcpyHostToDevice));
    for (int b = 0; b < batch; ++b) zones(b, 4, std::max<std::int64_t>(4, lengths[b] - 64));
  }
  void zones(int b, std::int64_t sink, std::int64_t tail) {
    const auto n = static_cast<std::int32_t>(cases[b].length);
    cache->set_zones(b, std::min<std::int32_t>(n, sink), std::min<std::int32_t>(n, tail), n);
  }
  void cluster(ItemIndex& index, const ItemIndex::Clustering& clustering = {}) {
    for (std::size_t b = 0; b < cases.size(); ++b) {
      const auto n = static_cast<std::int32_t>(cases[b].length), sink = std::min(n, 4);
      const std::size_t at = b * kHeads * cache->capacity() * cache->row_bytes();
      index.build_clusters(*cache, static_cast<int>(b), source_keys.get() + at,
                           source_values.get() + at, cache->capacity(), sink,
                           std::max(sink, n - 64), n, clustering, nullptr);
    }
  }
  void set_queries(DecodeStep& step) const {
    std::vector<float> all;
    for (const Case& c : cases) all.insert(all.end(), c.queries.begin(), c.queries.end());
    const auto bytes = to_device_type(all.data(), all.size(), DType::kBf16);
    DP_CUDA(cudaMemcpy(step.queries(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
  }
  std::vector<float> output(const DecodeStep& step) const {
    std::vector<float> out(cases.size() * kHeads * kGroup * kDim);
    DP_CUDA(cudaMemcpy(out.data(), step.output(), out.size() * 4, cudaMemcpyDeviceToHost));
    return out;
  }
};

inline double logit(const Case& c, int kv, int g, std::int64_t token) {
  double dot = 0;
  const std::int64_t d = c.head_dim;
  const float* q = c.queries.data() + (kv * c.group + g) * d;
  const float* k = c.keys.data() + (kv * c.capacity + token) * d;
  for (std::int64_t i = 0; i < d; ++i) dot += double(q[i]) * k[i];
  return dot / std::sqrt(double(d));
}

inline std::vector<std::int32_t> all_tokens(std::int64_t n) {
  std::vector<std::int32_t> tokens(n);
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

/// Attention of query g of a KV head over some tokens, in float64.
inline std::vector<float> attend_tokens(const Case& c, int kv, int g,
                                        const std::vector<std::int32_t>& tokens) {
  const std::int64_t d = c.head_dim;
  std::vector<double> logits, out(d, 0.0);
  double top = -INFINITY, sum = 0;
  for (const auto j : tokens) {
    logits.push_back(logit(c, kv, g, j));
    top = std::max(top, logits.back());
  }
  for (std::size_t n = 0; n < tokens.size(); ++n) {
    const double p = std::exp(logits[n] - top);
    const float* v = c.values.data() + (kv * c.capacity + tokens[n]) * d;
    sum += p;
    for (std::int64_t i = 0; i < d; ++i) out[i] += p * v[i];
  }
  std::vector<float> result(d);
  for (std::int64_t i = 0; i < d; ++i) result[i] = static_cast<float>(out[i] / sum);
  return result;
}

}  // namespace doublep::test
