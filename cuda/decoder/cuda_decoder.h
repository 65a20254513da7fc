// A policy over one layer's cache on the GPU, behind core's interface: batch 1 of a DecodeStep.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/decoder/device_decoder.h"
#include "core/index/cluster_index.h"
#include "cuda/decoder/factory.h"
#include "cuda/decoder/on_host.h"
#include "cuda/decoder/planned.h"

namespace doublep::cuda {

class CudaDecoder final : public DeviceDecoder {
 public:
  CudaDecoder(const PolicyInfo& policy, const Parameters& parameters, const PolicyContext& context,
              const GivenClusters* clusters);

  void prefill(const KvCacheView& cache) override;
  void append(const KvCacheView& grown) override;
  /// With kOutput costs other than of the index are not counted: counting reads the work lists
  /// back.
  StepResult step(const QueryBlock& queries, Detail detail) override;
  IndexCost index_cost() const override;

  void prefill_on_device(const DeviceTensor& keys, const DeviceTensor& values,
                         const DeviceTensor* queries, std::int64_t capacity) override;
  void append_on_device(const DeviceTensor& keys, const DeviceTensor& values) override;
  StepResult step_on_device(const DeviceTensor& queries, double softmax_scale, float* output,
                            Detail detail) override;

 private:
  /// Tokens [begin, end) that were clustered at one time, on their own.
  struct Part {
    std::int64_t begin, end;
    ItemIndex::Clustering clustering;
  };
  /// Of a view that is there: what the index learns from the prompt, and where it will lie.
  void start();
  /// Of a view that has grown from `before` tokens.
  void joined(std::int64_t before);
  /// Of queries that are there; `to`: where the output goes, on either side.
  StepResult attend(const QueryBlock& queries, Detail detail, float* to);
  /// Zones and clusters over the visible tokens as they are now.
  void place();
  /// All of it anew at the next step.
  void rebuild();
  void add_part(std::int64_t begin, std::int64_t end, const ItemIndex::Clustering& clustering,
                double warped = 0);
  void grow();
  /// Device objects need the group size, which only a query tells.
  void open(int num_query_heads, double softmax_scale);
  void make_step();
  /// Where the plan stops by error: takes the prompt's queries, which wait for the first step; and
  /// tells a step the factors, which are learnt from them before the first one and stay.
  void take_prompt();
  void tell_factors();
  /// Room for a cache in token order.
  void make_source();
  /// What was brought to the host to report selections, and holds no longer.
  void forget_host();
  void load_clusters();
  void load_tail(std::int64_t from);
  /// Of a packed cache without clusters: the blocks that are full.
  void pack_tail();
  std::int64_t items() const;
  ExactZone zone() const { return {sink_end_, tail_begin_, view_.length}; }
  void charge_index(StepResult& result);
  void report(const QueryBlock& queries, Detail detail, StepResult& result) const;
  void report_selections(int pair, const StepWork& work, const QueryGroup& group,
                         GroupSelection& out) const;
  const std::vector<std::int32_t>& host_order(int kv_head) const;
  std::shared_ptr<const ClusterIndex> host_index(int kv_head) const;
  KvHead host_head(int kv_head) const;

  std::string policy_;
  Parameters parameters_;
  PolicyContext context_;
  std::optional<GivenClusters> given_;
  Plan plan_;
  DType dtype_;
  KvCacheView view_;        // without addresses where the tokens came on the device:
  bool on_device_ = false;  // then they are in source_ until cache_ is, and there from then on
  struct Source {           // [kv_heads, capacity, head_dim], in token order
    DeviceBuffer<unsigned char> keys, values;
  } source_;
  std::int64_t sink_end_ = 0, tail_begin_ = 0, built_length_ = 0;
  std::vector<Part> parts_;               // of [sink_end_, tail_begin_), where clustered
  std::vector<MetricLearner> metrics_;    // of every KV head, where clustered
  std::vector<PromiseLearner> learners_;  // of every KV head, where the plan stops by error
  std::vector<float> prompt_;             // the queries that they wait with
  std::vector<VectorD> factors_;          // what they learnt, a factor a query head
  int clusters_ = 0;                      // of all parts
  Work build_, charged_;  // of one KV head: all builds so far, and what steps were charged
  double softmax_scale_ = 1;
  Shape shape_;
  std::unique_ptr<Cache> cache_;
  std::unique_ptr<ItemIndex> index_;
  std::unique_ptr<DecodeStep> step_;
  mutable HostRows host_rows_;
  mutable std::vector<std::shared_ptr<const ClusterIndex>> host_indices_;
  mutable std::vector<std::vector<std::int32_t>> host_order_;
};

}  // namespace doublep::cuda
