#include "cuda/decoder/on_host.h"

#include "core/cache/packed_head.h"
#include "cuda/decoder/convert.h"

namespace doublep::cuda {

HostRows rows_on_host(const Cache& cache, int sequence, std::int64_t length) {
  const Shape& shape = cache.shape();
  const std::int64_t count = shape.kv_heads * cache.capacity() * shape.head_dim;
  DeviceBuffer<unsigned char> keys(count * bytes_of(cache.dtype())), values(keys.size());
  keys.zero(), values.zero();
  cache.in_token_order(sequence, length, keys.get(), values.get(), nullptr);
  HostRows rows{std::vector<float>(count), std::vector<float>(count)};
  from_device_type(keys.download().data(), count, cache.dtype(), rows.keys.data());
  from_device_type(values.download().data(), count, cache.dtype(), rows.values.data());
  return rows;
}

std::shared_ptr<const ClusterIndex> clusters_on_host(const Plan& plan, DType dtype,
                                                     ItemIndex& index, std::int64_t pair,
                                                     std::int64_t clusters, const ExactZone& zone,
                                                     const KvHead& head,
                                                     const std::vector<std::int32_t>& order) {
  const std::int64_t d = head.head_dim, k = clusters;
  std::vector<unsigned char> rows(k * d * bytes_of(dtype));
  std::vector<std::int32_t> offsets(k + 1, static_cast<std::int32_t>(zone.sink_end));
  if (k > 0) {
    DP_CUDA(cudaMemcpy(rows.data(), index.rows(pair), rows.size(), cudaMemcpyDeviceToHost));
    DP_CUDA(cudaMemcpy(offsets.data(), index.offsets(pair), offsets.size() * 4,
                       cudaMemcpyDeviceToHost));
  }
  MatrixF centroids(k, d);
  from_device_type(rows.data(), k * d, dtype, centroids.data());
  std::vector<std::int32_t> labels(zone.tail_begin - zone.sink_end);
  for (std::int64_t c = 0; c < k; ++c)
    for (std::int32_t row = offsets[c]; row < offsets[c + 1]; ++row)
      labels[order[row] - zone.sink_end] = static_cast<std::int32_t>(c);
  ClusterIndex made = ClusterIndex::from_assignment(head, zone.sink_end, zone.tail_begin,
                                                    std::move(centroids), labels);
  made.add_moments(head, {.value_map = plan.step.value_shift, .key_shape = plan.pooled()});
  return std::make_shared<const ClusterIndex>(std::move(made));
}

void learn_on_host(const Plan& plan, const KvHead& head, const ExactZone& zone,
                   const std::shared_ptr<const ClusterIndex>& index, int group,
                   double softmax_scale, PromiseLearner& learner) {
  QueryGroup step;
  step.size = group, step.head_dim = head.head_dim, step.softmax_scale = softmax_scale;
  if (!plan.fp8) return learner.learn_from_prompt(head, zone, index, step);
  PackedHead packed;
  packed.extend(head);
  for (std::int64_t c = 0; c < index->num_clusters(); ++c) packed.pack(index->members(c));
  learner.learn_from_prompt(packed.stored(head), zone, index, step);
}

}  // namespace doublep::cuda
