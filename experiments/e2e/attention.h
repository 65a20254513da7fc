// The attention of one layer under a policy: cache, index and step, filled from recorded heads.
#pragma once

#include <memory>

#include "experiments/bench/spec.h"
#include "experiments/bench/workload.h"

namespace doublep::e2e {

class LayerAttention {
 public:
  /// `place` tells layers apart: their sequences start at different places of the recording.
  LayerAttention(const bench::Workload& workload, const bench::Spec& spec, std::int64_t context,
                 int batch, int place);

  /// Output of all query heads, float32 [batch, heads * head_dim].
  const float* enqueue(cudaStream_t stream) {
    step_->enqueue(stream);
    return step_->output();
  }

 private:
  void fill_rows(const bench::Workload& workload, std::int64_t context, int place);
  void cluster(const bench::Workload& workload, const bench::Spec& spec, std::int64_t context,
               int place);
  void set_budgets(const bench::Spec& spec);

  std::unique_ptr<cuda::Cache> cache_;
  std::unique_ptr<cuda::ItemIndex> index_;
  std::unique_ptr<cuda::DecodeStep> step_;
  std::int64_t items_ = 0;
};

}  // namespace doublep::e2e
