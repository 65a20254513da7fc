// The attention of one layer for a batch: one cache that every policy uses in turn, filled from
// recorded heads, and the index and the step of the policy whose turn it is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "experiments/bench/spec.h"
#include "experiments/bench/workload.h"

namespace doublep::e2e {

class LayerAttention {
 public:
  /// `place` tells layers apart: their sequences are repeats of the recording with other noise, and
  /// their queries come from other steps of it.
  LayerAttention(const bench::Workload& workload, std::int64_t context, int batch, int place);

  /// Makes ready for a policy. What is in the cache and the index stays where the policy before
  /// used the same; so take policies in token order first, then those of one clustering after
  /// another. `source`: room for one sequence in token order, needed where spec.clustered.
  /// Synchronous.
  void prepare(const bench::Spec& spec, cuda::Cache* source);

  /// Output of all query heads, float32 [batch, heads * head_dim].
  const float* enqueue(cudaStream_t stream) {
    step_->enqueue(stream);
    return step_->output();
  }
  /// Not-a-numbers where the output will be, so that an output which nothing writes is seen.
  void poison();
  /// The output of the first `sequences`, [sequences, heads * head_dim]. Synchronous.
  std::vector<float> output(int sequences) const;

  const cuda::DecodeStep& step() const { return *step_; }
  bool has_index() const { return index_ != nullptr; }
  std::int64_t items() const { return items_; }  ///< clusters or pages of a KV head
  double build_ms() const { return build_ms_; }  ///< index of one sequence; 0: none

  /// Bytes that a layer and (once for all layers) the source take at most under these policies.
  static double bytes(const bench::Workload& workload, const std::vector<bench::Spec>& specs,
                      std::int64_t context, int batch);
  static double source_bytes(const bench::Workload& workload, std::int64_t context);

 private:
  void fill(cuda::Cache& cache, int sequence_of_cache, int sequence);
  void cluster(const bench::Spec& spec, cuda::Cache& source);
  void page(const bench::Spec& spec);
  void set_budgets(const bench::Spec& spec);

  const bench::Workload& workload_;
  std::int64_t context_;
  int batch_, place_;
  cuda::Cache cache_;
  std::string held_;  // what cache and index hold: "" or "rows", "pages", a clustering
  bool in_token_order_ = false;
  std::unique_ptr<cuda::ItemIndex> index_;
  std::unique_ptr<cuda::DecodeStep> step_;
  std::int64_t items_ = 0;
  double build_ms_ = 0;
};

}  // namespace doublep::e2e
