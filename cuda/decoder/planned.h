// A plan carried out on a cache: its index, its step, their budgets, and what a selection touched
// and cost. The decoder, `doublep bench` and doublep_e2e all go through here.
#pragma once

#include <memory>
#include <vector>

#include "core/policy/policy.h"
#include "cuda/policies/plan.h"

namespace doublep::cuda {

/// Throws InputError where a KV head has more items than a selection by rank has `room` for.
void check_room(const Plan& plan, std::int64_t items, std::int64_t room);

/// Room for `items` of every pair; null where the plan has no index. Throws InputError where the
/// device's selection has none for so many.
std::unique_ptr<ItemIndex> make_index(const Plan& plan, const Cache& cache, std::int64_t items);

/// Sets what `step` keeps and refines in a sequence of `length` tokens and `items` of the index;
/// nothing where shares of the mass, numbers of tokens or errors decide. Synchronous.
void set_budgets(const Plan& plan, const Cache& cache, const ItemIndex* index, int sequence,
                 std::int64_t length, std::int64_t items, DecodeStep& step);

/// What one KV head's selection read: the union over its group, and each head's own.
struct Touched {
  double length = 0, zone = 0;                   ///< visible tokens; those of sinks and tail
  double items = 0;                              ///< of the index, all of which the estimate reads
  double tokens = 0, terms = 0, candidates = 0;  ///< candidates: whose 4-bit keys were read
  double plain = 0, pieces = 0;  ///< of a packed cache: tokens in no block, tiles of the others
  struct Head {
    double tokens = 0, terms = 0, candidates = 0;
  };
  std::vector<Head> heads;
};
Touched touched_by(const Plan& plan, const StepWork& work, int group, const ExactZone& zone,
                   std::int64_t items);

/// Adds the stages estimate, select and attend, counted by the reference's rules.
void charge_step(const Plan& plan, const Touched& touched, int head_dim, KvDtype dtype,
                 GroupSelection& out);

}  // namespace doublep::cuda
