// A policy over one layer's cache on the GPU, behind core's interface: batch 1 of a DecodeStep.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/index/cluster_index.h"
#include "cuda/decoder/factory.h"
#include "cuda/decoder/step_options.h"

namespace doublep::cuda {

class CudaDecoder final : public Decoder {
 public:
  CudaDecoder(const PolicyInfo& policy, const Parameters& parameters, const PolicyContext& context,
              const GivenClusters* clusters);

  void prefill(const KvCacheView& cache) override;
  void append(const KvCacheView& grown) override;
  /// Costs are counted only with an audit: counting reads the work lists back.
  StepResult step(const QueryBlock& queries, Audit audit) override;
  IndexCost index_cost() const override;

 private:
  /// Device objects need the group size, which only a query tells.
  void open(const QueryBlock& queries);
  void load();
  void load_tail(std::int64_t from);
  void audit(const QueryBlock& queries, StepResult& result) const;
  std::shared_ptr<const ClusterIndex> host_index(int kv_head) const;

  std::string policy_;
  Parameters parameters_;
  PolicyContext context_;
  std::optional<GivenClusters> given_;
  PolicyPlan plan_;
  DType dtype_;
  KvCacheView view_;
  std::int64_t sink_end_ = 0, tail_begin_ = 0, built_length_ = 0;
  int clusters_ = 0;
  Work build_, charged_;
  Shape shape_;
  std::unique_ptr<Cache> cache_;
  std::unique_ptr<ItemIndex> index_;
  std::unique_ptr<DecodeStep> step_;
  mutable std::vector<std::shared_ptr<const ClusterIndex>> host_indices_;
  mutable std::vector<std::vector<std::int32_t>> host_order_;
};

}  // namespace doublep::cuda
