// The CPU backend: a Policy per KV head, and the shared attend.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/cache/packed_head.h"
#include "core/decoder/decoder.h"
#include "core/policy/registry.h"

namespace doublep {

class ReferenceDecoder final : public Decoder {
 public:
  /// `context.kv_head` is the layer's number of the cache's first KV head.
  ReferenceDecoder(const PolicyInfo& policy, const Parameters& parameters,
                   const PolicyContext& context);

  /// Throws ParameterError where a parameter does not fit the cache's head_dim.
  void prefill(const KvCacheView& cache) override;
  /// The rows may lie elsewhere than before: no policy keeps a pointer to them.
  void append(const KvCacheView& grown) override;
  StepResult step(const QueryBlock& queries, Detail detail) override;
  IndexCost index_cost() const override;

 private:
  /// A KV head's tokens as kv_dtype fp8 stores them.
  struct Stored {
    PackedHead rows;
    std::shared_ptr<const ClusterIndex> clusters;
  };
  /// Brings stored_ up to what the policy has made of the cache.
  void store(std::int64_t head);

  const PolicyInfo& info_;
  Parameters parameters_;
  PolicyContext context_;
  KvCacheView cache_;
  std::vector<std::unique_ptr<Policy>> heads_;
  std::vector<Stored> stored_;  // per KV head; none but with kv_dtype fp8
  /// Build work that is charged to the next step (re-clustering), per KV head.
  std::vector<Work> charged_;
};

}  // namespace doublep
