// From device work lists back to selections in the reference's terms.
#include <algorithm>

#include "core/base/error.h"
#include "core/base/matrix.h"
#include "core/index/value_shift.h"
#include "cuda/decoder/convert.h"
#include "cuda/decoder/cuda_decoder.h"

namespace doublep::cuda {

/// Of a cache that came on the device: as far as it was visible when first asked for, which all
/// clusters are.
KvHead CudaDecoder::host_head(int kv_head) const {
  KvCacheView view = view_;
  if (on_device_) {
    const std::int64_t count = view_.num_kv_heads * view_.capacity * view_.head_dim;
    if (host_keys_.empty()) {
      const std::int64_t bytes = count * bytes_of(dtype_);
      DeviceBuffer<unsigned char> keys(bytes), values(bytes);
      keys.zero(), values.zero();
      cache_->in_token_order(0, view_.length, keys.get(), values.get(), nullptr);
      host_keys_.resize(count), host_values_.resize(count);
      from_device_type(keys.download().data(), count, dtype_, host_keys_.data());
      from_device_type(values.download().data(), count, dtype_, host_values_.data());
    }
    view.keys = host_keys_.data(), view.values = host_values_.data();
  }
  return view.head(kv_head);
}

std::shared_ptr<const ClusterIndex> CudaDecoder::host_index(int kv_head) const {
  if (host_indices_.empty()) host_indices_.resize(shape_.pairs);
  auto& index = host_indices_[kv_head];
  if (index) return index;
  const std::int64_t d = view_.head_dim, k = clusters_;
  std::vector<unsigned char> rows(k * d * bytes_of(dtype_));
  std::vector<std::int32_t> offsets(k + 1, static_cast<std::int32_t>(sink_end_));
  if (k > 0) {
    DP_CUDA(cudaMemcpy(rows.data(), index_->rows(kv_head), rows.size(), cudaMemcpyDeviceToHost));
    DP_CUDA(cudaMemcpy(offsets.data(), index_->offsets(kv_head), offsets.size() * 4,
                       cudaMemcpyDeviceToHost));
  }
  const auto& order = host_order(kv_head);
  MatrixF centroids(k, d);
  from_device_type(rows.data(), k * d, dtype_, centroids.data());
  std::vector<std::int32_t> labels(tail_begin_ - sink_end_);
  for (std::int64_t c = 0; c < k; ++c)
    for (std::int32_t row = offsets[c]; row < offsets[c + 1]; ++row)
      labels[order[row] - sink_end_] = static_cast<std::int32_t>(c);
  const KvHead head = host_head(kv_head);
  ClusterIndex made =
      ClusterIndex::from_assignment(head, sink_end_, tail_begin_, std::move(centroids), labels);
  made.add_moments(head, {.value_map = plan_.step.value_shift, .key_shape = plan_.pooled()});
  index = std::make_shared<const ClusterIndex>(std::move(made));
  return index;
}

/// The token that every row holds.
const std::vector<std::int32_t>& CudaDecoder::host_order(int kv_head) const {
  if (host_order_.empty()) {
    host_order_.resize(shape_.pairs);
    for (int pair = 0; pair < shape_.pairs; ++pair) {
      host_order_[pair].resize(view_.capacity);
      DP_CUDA(cudaMemcpy(host_order_[pair].data(), cache_->order(pair), view_.length * 4,
                         cudaMemcpyDeviceToHost));
    }
  }
  auto& order = host_order_[kv_head];
  // Rows from the tail on, and all without an index, are tokens in place, also those that came
  // after the download.
  for (std::int64_t row = plan_.clustered() ? tail_begin_ : 0; row < view_.length; ++row)
    order[row] = static_cast<std::int32_t>(row);
  return order;
}

void CudaDecoder::report_selections(int pair, const StepWork& work, const QueryGroup& group,
                                    GroupSelection& out) const {
  const auto& order = host_order(pair);
  const auto take = [&](std::int64_t row, std::uint32_t mask) {
    for (int h = 0; h < group.size; ++h)
      if (mask >> h & 1) out.heads[h].tokens.push_back(order[row]);
  };
  if (plan_.step.kind == StepKind::kDense)
    for (std::int64_t row = 0; row < view_.length; ++row) take(row, ~0u);
  for (const Run& run : work.runs)
    for (std::uint32_t i = 0; i < (run.meta & 0xFF); ++i) take(run.row + i, run.meta >> 8);
  for (const std::uint32_t token : work.tokens) take(token & kIdMask, token >> kIdBits);
  std::vector<float> log_masses(work.terms.empty() ? 0 : group.size * step_->mass_stride());
  if (!log_masses.empty())
    DP_CUDA(cudaMemcpy(log_masses.data(),
                       step_->log_masses() + static_cast<std::int64_t>(pair) * log_masses.size(),
                       log_masses.size() * sizeof(float), cudaMemcpyDeviceToHost));
  for (const std::uint32_t term : work.terms)
    for (int h = 0; h < group.size; ++h)
      if (term >> (kIdBits + h) & 1)
        out.heads[h].terms.push_back({static_cast<std::int32_t>(term & kIdMask),
                                      log_masses[h * step_->mass_stride() + (term & kIdMask)]});
  for (Selection& head : out.heads) {
    std::sort(head.tokens.begin(), head.tokens.end());
    head.target_p = plan_.target_p;
    if (plan_.clustered()) head.index = host_index(pair);
  }
  if (plan_.step.value_shift) shift_values(group, out);
}

void CudaDecoder::report(const QueryBlock& queries, Detail detail, StepResult& result) const {
  result.counts.resize(queries.num_query_heads);
  if (detail == Detail::kSelections) result.selections.resize(queries.num_query_heads);
  const ExactZone zone{sink_end_, tail_begin_, view_.length};
  for (int pair = 0; pair < shape_.pairs; ++pair) {
    const StepWork work = step_->work(pair);
    const Touched touched = touched_by(plan_, work, shape_.group, zone, items());
    GroupSelection chosen(shape_.group);
    if (detail == Detail::kSelections)
      report_selections(pair, work, queries.group(pair, shape_.pairs), chosen);
    charge_step(plan_, touched, shape_.head_dim, context_.kv_dtype, chosen);
    for (int h = 0; h < shape_.group; ++h) {
      const std::size_t at = static_cast<std::size_t>(pair) * shape_.group + h;
      result.counts[at] = {static_cast<std::int64_t>(touched.heads[h].tokens),
                           static_cast<std::int64_t>(touched.heads[h].terms)};
      if (detail == Detail::kSelections) result.selections[at] = std::move(chosen.heads[h]);
      for (int stage = 0; stage < kNumStages; ++stage)
        result.cost[at].stages[stage] += chosen.cost[h].stages[stage];
    }
  }
}

}  // namespace doublep::cuda
