// From device work lists back to selections in the reference's terms.
#include <algorithm>

#include "core/base/error.h"
#include "core/base/matrix.h"
#include "cuda/decoder/convert.h"
#include "cuda/decoder/cuda_decoder.h"

namespace doublep::cuda {

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
  MatrixF centroids(k, d);
  from_device_type(rows.data(), k * d, dtype_, centroids.data());
  std::vector<std::int32_t> labels(tail_begin_ - sink_end_);
  for (std::int64_t c = 0; c < k; ++c)
    for (std::int32_t row = offsets[c]; row < offsets[c + 1]; ++row)
      labels[host_order_[kv_head][row] - sink_end_] = static_cast<std::int32_t>(c);
  index = std::make_shared<const ClusterIndex>(ClusterIndex::from_assignment(
      view_.head(kv_head), sink_end_, tail_begin_, std::move(centroids), labels));
  return index;
}

void CudaDecoder::audit(const QueryBlock& queries, StepResult& result) const {
  const int group = shape_.group;
  const double d = view_.head_dim, element = bytes_of(dtype_);
  result.selections.resize(queries.num_query_heads);
  if (host_order_.empty()) {
    host_order_.resize(shape_.pairs);
    for (int pair = 0; pair < shape_.pairs; ++pair) {
      host_order_[pair].resize(view_.capacity);
      DP_CUDA(cudaMemcpy(host_order_[pair].data(), cache_->order(pair), view_.length * 4,
                         cudaMemcpyDeviceToHost));
    }
  }
  for (int pair = 0; pair < shape_.pairs; ++pair) {
    auto& order = host_order_[pair];
    // Rows from the tail on, and all without an index, are tokens in place, also those that came after the download.
    for (std::int64_t row = plan_.clustered ? tail_begin_ : 0; row < view_.length; ++row)
      order[row] = static_cast<std::int32_t>(row);
    const StepWork work = step_->work(pair);
    Selection* heads = result.selections.data() + static_cast<std::size_t>(pair) * group;
    double union_tokens = 0;
    const auto take = [&](std::int64_t row, std::uint32_t mask) {
      ++union_tokens;
      for (int h = 0; h < group; ++h)
        if (mask >> h & 1) heads[h].tokens.push_back(order[row]);
    };
    if (plan_.step.kind == StepKind::kDense)
      for (std::int64_t row = 0; row < view_.length; ++row) take(row, ~0u);
    for (const Run& run : work.runs)
      for (std::uint32_t i = 0; i < (run.meta & 0xFF); ++i) take(run.row + i, run.meta >> 8);
    std::vector<float> log_masses(work.terms.empty() ? 0 : group * step_->logit_stride());
    if (!log_masses.empty())
      DP_CUDA(cudaMemcpy(log_masses.data(),
                         step_->logits() + static_cast<std::int64_t>(pair) * log_masses.size(),
                         log_masses.size() * sizeof(float), cudaMemcpyDeviceToHost));
    for (const std::uint32_t term : work.terms)
      for (int h = 0; h < group; ++h)
        if (term >> (kIdBits + h) & 1)
          heads[h].terms.push_back({static_cast<std::int32_t>(term & kIdMask),
                                    log_masses[h * step_->logit_stride() + (term & kIdMask)]});
    const double k = clusters_, bytes = 2 * union_tokens * d * element +
                                        static_cast<double>(work.terms.size()) * d * element;
    for (int h = 0; h < group; ++h) {
      Selection& head = heads[h];
      std::sort(head.tokens.begin(), head.tokens.end());
      head.target_p = plan_.step.kind == StepKind::kDense ? 1 : plan_.target_p;
      if (plan_.clustered) head.index = host_index(pair);
      StepCost& cost = result.cost[static_cast<std::size_t>(pair) * group + h];
      const double exact = static_cast<double>(head.tokens.size());
      const double approximate = static_cast<double>(head.terms.size());
      cost[Stage::kAttend] += Work{bytes / group, exact * (4 * d + 1) + approximate * (2 * d + 1)};
      if (!plan_.clustered) continue;
      cost[Stage::kEstimate] += Work{k * (d * element + 8) / group, k * (2 * d + 4)};
      cost[Stage::kSelect] += Work{4.0 * k, 2.0 * k};
    }
  }
  // Building the first index is the prompt's cost; rebuilding is a step's (not counted here yet).
}

}  // namespace doublep::cuda
