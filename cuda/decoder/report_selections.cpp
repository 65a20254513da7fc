// From device work lists back to selections in the reference's terms.
#include <algorithm>

#include "core/base/error.h"
#include "core/index/value_shift.h"
#include "cuda/decoder/cuda_decoder.h"

namespace doublep::cuda {

/// Of a cache that came on the device: as far as it was visible when first asked for, which all
/// clusters are.
KvHead CudaDecoder::host_head(int kv_head) const {
  KvCacheView view = view_;
  if (on_device_) {
    if (host_rows_.keys.empty()) host_rows_ = rows_on_host(*cache_, 0, view_.length);
    view.keys = host_rows_.keys.data(), view.values = host_rows_.values.data();
  }
  return view.head(kv_head);
}

std::shared_ptr<const ClusterIndex> CudaDecoder::host_index(int kv_head) const {
  if (host_indices_.empty()) host_indices_.resize(shape_.pairs);
  auto& index = host_indices_[kv_head];
  if (!index)
    index = clusters_on_host(plan_, dtype_, *index_, kv_head, clusters_, zone(), host_head(kv_head),
                             host_order(kv_head));
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
  for (int h = 0; h < group.size && plan_.by_error(); ++h)
    out.heads[h].target_error = plan_.stop.error, out.heads[h].error_factor = factors_[pair][h];
  if (plan_.step.value_shift) shift_values(group, out);
}

void CudaDecoder::report(const QueryBlock& queries, Detail detail, StepResult& result) const {
  result.counts.resize(queries.num_query_heads);
  if (detail == Detail::kSelections) result.selections.resize(queries.num_query_heads);
  for (int pair = 0; pair < shape_.pairs; ++pair) {
    const StepWork work = step_->work(pair);
    const Touched touched = touched_by(plan_, work, shape_.group, zone(), items());
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
