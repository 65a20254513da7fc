// What a sequence's cache and index hold, brought back to the host: to report selections in the
// reference's terms, and to learn on the host from the very clusters that the device selects from.
// All synchronous.
#pragma once

#include <memory>
#include <vector>

#include "core/index/cluster_index.h"
#include "core/policy/promise_learner.h"
#include "cuda/policies/plan.h"

namespace doublep::cuda {

/// The first `length` tokens of a sequence in their order, [kv_heads, capacity, head_dim].
struct HostRows {
  std::vector<float> keys, values;
};
HostRows rows_on_host(const Cache& cache, int sequence, std::int64_t length);

/// The first `clusters` of a pair. `head`: its keys and values, in token order; `order`: the token
/// of every row.
std::shared_ptr<const ClusterIndex> clusters_on_host(const Plan& plan, DType dtype,
                                                     ItemIndex& index, std::int64_t pair,
                                                     std::int64_t clusters, const ExactZone& zone,
                                                     const KvHead& head,
                                                     const std::vector<std::int32_t>& order);

/// Learns from the prompt's queries, which `learner` has, over what the device attends: where the
/// plan packs the cache, over the numbers that are stored.
void learn_on_host(const Plan& plan, const KvHead& head, const ExactZone& zone,
                   const std::shared_ptr<const ClusterIndex>& index, int group,
                   double softmax_scale, PromiseLearner& learner);

}  // namespace doublep::cuda
