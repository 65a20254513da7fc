// From log masses to work lists: top-p or top-k by threshold search, without a sort, for every
// query head, then the union over the heads of a pair. One launch, no host round trip.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/common/types.h"
#include "cuda/estimate/estimate.h"

namespace doublep::cuda {

/// kMass: smallest prefix of the descending order whose mass is at least a share p of the total.
/// kCount: a fixed number of items. kTokens: smallest prefix that holds so many tokens, in an order
/// of its own (RankBy), one for a group; everything else is a term. kError: smallest prefix of that
/// order after which no head's terms are predicted to err by more than it allows, as core's stop:
/// error has it. Equals go to the lower id, as on the CPU.
enum class SelectRule { kMass, kCount, kTokens, kError };
/// By an order of its own.
constexpr bool by_rank(SelectRule rule) {
  return rule == SelectRule::kTokens || rule == SelectRule::kError;
}
/// As core's RefinementOptions::Order has them, summed over the group.
enum class RankBy { kMass, kError, kP2 };
/// As core's NucleusOptions::Gqa.
enum class GroupMode { kPerHead, kSum, kUnion };
/// kRuns: rows of the chosen items as runs of at most 16. kTokens: one entry per item.
enum class EmitKind { kRuns, kTokens };

struct SelectParams {
  Shape shape;
  const float* logits = nullptr;            ///< [pairs * group, capacity], -infinity: no such item,
                                            ///< also from num_items to the next multiple of 4
  const ClusterMeta* meta = nullptr;        ///< [pairs, capacity]; for rank_without_size
  const std::int32_t* num_items = nullptr;  ///< [pairs]; null: no items
  std::int64_t capacity = 0;                ///< a multiple of 16

  SelectRule rule = SelectRule::kMass;
  double keep = 0.95, refine = 0.70;  ///< kMass: p1 and p2; 1 takes every item of any mass
  const int2* budgets = nullptr;      ///< [pairs]: items kept, of which refined (kCount)
  RankBy rank = RankBy::kMass;        ///< kTokens, kError
  /// kError in the order, as core's Objective::kError: a head's squared errors count over the error
  /// that it would have with nothing refined.
  bool votes = false;
  double share = 0;         ///< kTokens: of the visible tokens; 0: `wanted` of them instead
  std::int64_t wanted = 0;  ///< kTokens
  /// kError, whose estimate is pooled: log of 1 / the squared error that a head may leave, infinite
  /// where it may leave none, [pairs * group]; and core's `tail` with the error that it is about.
  const float* lifts = nullptr;
  float tail = 0, error = 0;
  GroupMode group_mode = GroupMode::kPerHead;
  bool rank_without_size = false;  ///< kSum: rank by softmax(q.C) as RetroInfer does
  bool emit_terms = true;          ///< kept but not refined: cluster terms; not by rank
  bool outside_terms = false;      ///< everything that is not refined: terms

  /// kMass: logits of tokens whose mass counts as held already; null: the items alone. By
  /// rank: those whose mass belongs to a head's total.
  const float* zone_logits = nullptr;  ///< [pairs * group, zone_capacity]
  std::int64_t zone_capacity = 0;

  EmitKind emit = EmitKind::kRuns;
  const std::int32_t* offsets = nullptr;  ///< [pairs, capacity + 1]: first row of an item (kRuns)
  const std::uint32_t* item_rows = nullptr;  ///< [pairs, capacity]: row of an item (kTokens)
  /// Rows that are always attended: [0, sink_end) and [tail_begin, length). Null: none. They are
  /// emitted beside the items; or, with `zone_among_items` (kTokens), they are the slots of the
  /// first items, as emit_zone laid their runs out, and taken whatever their mass.
  const std::int32_t* sink_end = nullptr;    ///< [pairs / kv_heads]
  const std::int32_t* tail_begin = nullptr;  ///< [pairs / kv_heads]
  const std::int32_t* lengths = nullptr;     ///< [pairs / kv_heads]

  bool zone_among_items = false;

  Run* runs = nullptr;              ///< [pairs, work_capacity] (kRuns)
  std::uint32_t* tokens = nullptr;  ///< [pairs, work_capacity] (kTokens): row | mask << 24
  std::int64_t work_capacity = 0;
  std::int32_t* num_work = nullptr;   ///< [pairs]
  std::uint32_t* terms = nullptr;     ///< [pairs, capacity]: id | mask << 24
  std::int32_t* num_terms = nullptr;  ///< [pairs]

  /// By rank: log masses of the terms, [pairs * group, capacity], -infinity where an item is
  /// refined or has no members. From `logits`, and what `pooled` puts on top where its forms are
  /// given.
  float* masses = nullptr;
  PooledEstimate pooled;
  /// By rank: thread blocks that share a KV head's items, 1 to 8; 0: as suits their number.
  /// Threads of a block, 512 or 1024; 0: as suits the number of blocks and items.
  int team = 0, threads = 0;
  /// By rank: as many pairs with `capacity` items would have what all have; 0: that many have it.
  /// Where sequences differ in length and blocks have more than four items a thread, those of short
  /// ones leave room for more of the long ones.
  int full_pairs = 0;

  std::uint8_t* codes = nullptr;    ///< [pairs * group, capacity]: what a head does with an item
  float4* head_stats = nullptr;     ///< [pairs * group], kSum only: max, 1 / sum, zone's share
  float* group_logits = nullptr;    ///< [pairs, capacity], kSum only
  std::int32_t* arrived = nullptr;  ///< [pairs], zero before the first launch; left zero
};

void select(const SelectParams& params, cudaStream_t stream, bool overlap = false);
/// By rank: where select() goes for it. Throws CudaError for a capacity above ranked_room().
void select_ranked(const SelectParams& params, cudaStream_t stream, bool overlap);
/// By rank: items of a KV head that the current device has shared memory for, whatever the size of
/// the group; or one with so much for a block, of that compute capability. `team`: as SelectParams
/// has it.
std::int64_t ranked_room(SelectRule rule, int team = 0);
std::int64_t ranked_room(SelectRule rule, std::int64_t shared_bytes, int major, int team = 0);

}  // namespace doublep::cuda
