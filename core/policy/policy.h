// What a policy is on the CPU: an index over one KV head, and a rule that turns a group's queries
// into selections. One shared attend (core/attention) turns any selection into an output.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "core/cache/kv_cache.h"
#include "core/cost/stages.h"
#include "core/selection/selection.h"

namespace doublep {

/// Where a policy stands. Sampling policies key their random streams by all of it.
struct PolicyContext {
  int layer = 0;
  int kv_head = 0;  ///< of the layer; for a decoder, the first of its cache
  std::uint64_t seed = 0;
  KvDtype kv_dtype = KvDtype::kBf16;  ///< element size that cost is counted with
};

/// One policy over one KV head.
class Policy {
 public:
  virtual ~Policy() = default;
  /// Builds the index over the visible tokens of the prompt. The head's `prefill_queries` are the
  /// queries of the prompt's last positions, of this KV head's group.
  virtual void prefill(const KvHead&) {}
  /// The same cache with a larger length. May rebuild.
  virtual void append(const KvHead&) {}
  /// Chooses for every query of the group; `cache` is what the last prefill or append showed.
  virtual void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) = 0;
  virtual IndexCost index_cost() const { return {}; }
  /// The clusters whose tokens are stored together (core/cache/packed_head.h), another index once
  /// they were made anew; null where tokens are stored in their order.
  virtual std::shared_ptr<const ClusterIndex> stored_clusters() const { return nullptr; }
  /// What the policy takes each query head of the group for (core/policy/head_kinds.h), once a
  /// step was selected; empty where it makes no difference between heads.
  virtual std::vector<std::string_view> head_kinds() const { return {}; }
};

}  // namespace doublep
