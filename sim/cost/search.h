// The search that turns masses into a selection: one thread block per query head, bounded by the
// block's own speed rather than by memory.
#pragma once

#include "core/policy/registry.h"
#include "sim/cost/roofline.h"

namespace doublep::sim {

/// The search of a policy, by its traits. Token codes have no kernel of their own: as items.
Search search_of(SearchKind kind, bool ranks_groups, bool dense);

/// Blocks of a search that one processor holds at a time: two by their registers (512 threads of 64
/// each), one where the masses of a head, which a block keeps in shared memory, leave no room for a
/// second. `masses`: of one query head.
int resident_blocks(const Hardware& hardware, Search search, double masses);

/// Turns that the blocks of `pairs` (sequence, KV head) pairs take. One where all are resident at
/// once; otherwise their number over the resident ones and one half: heads differ, the next block
/// starts wherever one ends, and the last turn is half full on average.
double search_turns(const Hardware& hardware, Search search, double masses, double pairs,
                    int group_size);

/// latency + turns * (turn_latency + masses / rate), by the machine's fit of this kind.
double search_seconds(const Machine& machine, Search search, double masses, double pairs,
                      int group_size);

}  // namespace doublep::sim
