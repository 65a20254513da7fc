// The time of one kernel: a roofline with fitted efficiencies, plus what a launch costs.
#pragma once

#include <string_view>

#include "sim/hardware/hardware.h"

namespace doublep::sim {

/// What a time hangs on: the resource that, made faster, would shorten it.
enum class Bound { kMemory, kCompute, kImbalance, kLaunch, kHostLink, kInterconnect };
inline constexpr int kNumBounds = 6;
std::string_view name_of(Bound bound);

/// How a kernel reads memory; each kind has an efficiency of its own.
enum class Access {
  kDense,    ///< all keys and values in a row
  kSparse,   ///< runs of the chosen clusters or pages
  kSummary,  ///< centroids or page bounds: the estimate stage
  kSelect,   ///< masses to work lists: a search, bounded by its own latency
  kGemm      ///< weights of a matrix product
};
inline constexpr int kNumAccesses = 5;
std::string_view name_of(Access access);

/// t = latency + max(bytes / (share * bandwidth), flops / (compute_share * rate), ...). `latency`
/// is what one launch of this kind costs beside its bytes; the machine's launch overhead is in it.
struct KernelFit {
  double share = 1;    ///< of the machine's read bandwidth
  double latency = 0;  ///< s per launch; negative: the machine's launch overhead
  double compute_share = 1;
};

/// The few numbers that measurements decide.
struct Efficiency {
  KernelFit kernels[kNumAccesses] = {{1, -1, 1}, {1, -1, 1}, {1, -1, 1}, {1, -1, 1}, {1, -1, 1}};
  /// bytes/s at which one thread block searches one head's masses (select); 0: no such limit.
  double search_rate = 0;
  /// s by which a stage of a graph starts before the one before it has ended.
  double overlap = 0;
  double prefill_share = 1;  ///< of the compute rate that dense prefill reaches
  double build_share = 1;    ///< of the compute rate that building an index reaches
  const KernelFit& operator[](Access a) const { return kernels[static_cast<int>(a)]; }
  KernelFit& operator[](Access a) { return kernels[static_cast<int>(a)]; }
};

struct Machine {
  Hardware hardware;
  Efficiency efficiency;
  double latency(Access access) const;
};

struct Timing {
  double seconds = 0;
  Bound bound = Bound::kLaunch;
  double memory = 0, compute = 0, imbalance = 0, overhead = 0;  ///< s, of which the time is made
};

/// One or more launches that move `bytes` and compute `flops` of type `dtype`. `slowest_share`: the
/// most loaded processor's part of the bytes, times the number of processors (1 = even).
Timing kernel_time(const Machine& machine, Access access, double bytes, double flops,
                   const std::string& dtype, double slowest_share = 1, int launches = 1);

}  // namespace doublep::sim
