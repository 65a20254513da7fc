// How evenly pieces of work of different size spread over a machine's processors.
#pragma once

#include <span>

namespace doublep::sim {

/// kSplit: tiles of all heads in one list, every block takes an equal share of it (our kernels).
/// kHead: one block per (sequence, KV head), in order, as soon as a processor is free.
enum class Balance { kSplit, kHead };

/// The most loaded processor's work times the number of processors over the sum: 1 = even. `tile`
/// is the smallest piece that kSplit hands out. An empty or workless list is even.
double imbalance(std::span<const double> work, int processors, Balance balance, double tile);

}  // namespace doublep::sim
