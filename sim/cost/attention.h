// Attention of one layer in one decode step under a policy, on one device.
#pragma once

#include <array>
#include <span>

#include "sim/cost/roofline.h"
#include "sim/profile/workload.h"

namespace doublep::sim {

/// kSplit: tiles of all heads in one list, every block takes an equal share of it (our kernels).
/// kHead: one block per (sequence, KV head), in order, as soon as a processor is free.
enum class Balance { kSplit, kHead };

/// The most loaded processor's work times the number of processors over the sum: 1 = even. `tile`
/// is the smallest piece that kSplit hands out. An empty or workless list is even.
double imbalance(std::span<const double> work, int processors, Balance balance, double tile);

struct AttentionOptions {
  bool dense = false;  ///< keys and values are read in a row, not as chosen runs
  Balance balance = Balance::kSplit;
  Search search = Search::kHeads;
  int group_size = 4;        ///< query heads per KV head: select searches each on its own
  double token_bytes = 512;  ///< keys and values of one token
  /// Bytes per step that come over the host link; they overlap with attention over what is here.
  double host_bytes = 0;
};

struct AttentionTiming {
  std::array<Timing, kNumStages> stages;
  double imbalance =
      1;  ///< of the attend stage, as it would be with a block per (sequence, KV head)
  double seconds() const;
};

/// What a block takes at least of estimate and attend, in bytes.
double tile_bytes(const AttentionOptions& options);

/// `heads`: one entry per (sequence, KV head) of the device. Stages without work launch nothing.
AttentionTiming attention_time(const Machine& machine, std::span<const HeadWork> heads,
                               const AttentionOptions& options);

}  // namespace doublep::sim
