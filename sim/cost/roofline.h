// The time of one kernel: a roofline with fitted efficiencies, plus what a launch costs. Matrix
// products are such kernels: they read their weights once for the whole batch. The search that
// turns masses into a selection is not: one thread block per query head, bounded by the block's own
// speed rather than by memory.
#pragma once

#include <string_view>

#include "core/policy/registry.h"
#include "sim/hardware/hardware.h"
#include "sim/model/model.h"

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
  kGemm      ///< weights of a matrix product
};
inline constexpr int kNumAccesses = 4;
std::string_view name_of(Access access);

/// t = latency + max(bytes / (share * bandwidth), flops / (compute_share * rate), ...). `latency`
/// is what one launch of this kind costs beside its bytes; the machine's launch overhead is in it.
struct KernelFit {
  double share = 1;    ///< of the machine's read bandwidth
  double latency = 0;  ///< s per launch; negative: the machine's launch overhead
  double compute_share = 1;
};

/// What a policy searches to turn masses into work lists; each is a kernel of its own.
enum class Search {
  kHeads,   ///< every query head's items by their mass, for itself
  kPages,   ///< every query head's items by their number
  kGroup,   ///< one search per KV head over the sum of its heads' masses
  kTokens,  ///< single tokens after the items, by a second search
  kZone,  ///< nothing: sinks and window alone are listed. Its latencies are those of the whole step
  kRanked  ///< one per KV head, by several blocks together: by error, up to a number of tokens
};
inline constexpr int kNumSearches = 6;
std::string_view name_of(Search search);

/// t = latency + turns * turn_latency + load / rate, as search_turns() and search_load() say.
struct SearchFit {
  double latency = -1;      ///< s; negative: the machine's launch overhead
  double turn_latency = 0;  ///< s
  double rate = 0;          ///< masses per second of a block; 0: no such limit
};

/// The few numbers that measurements decide.
struct Efficiency {
  KernelFit kernels[kNumAccesses] = {{1, -1, 1}, {1, -1, 1}, {1, -1, 1}, {1, -1, 1}};
  SearchFit searches[kNumSearches];
  /// s of a kernel that moves a few rows (norms and the like); negative: the launch overhead.
  double small_latency = -1;
  /// s that a layer's attention takes inside of a whole step beyond what it takes alone in a graph;
  /// below 0 where the graph's own start weighed more.
  double attention_offset = 0;
  double prefill_share = 1;  ///< of the compute rate that dense prefill reaches
  double build_share = 1;    ///< of the compute rate that building an index reaches
  const KernelFit& operator[](Access a) const { return kernels[static_cast<int>(a)]; }
  KernelFit& operator[](Access a) { return kernels[static_cast<int>(a)]; }
};

struct Machine {
  Hardware hardware;
  Efficiency efficiency;
  double latency(Access access) const;
  double small_kernel_latency() const;
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

/// y[rows, n] = x[rows, k] W: weights, inputs and outputs move once, of experts the weights of
/// distinct_experts() in one launch, and rows once for each expert that they take.
Timing gemm_time(const Machine& machine, const Gemm& gemm, std::int64_t rows);

/// Sum of `bytes` over `degree` devices, in a ring: each moves 2 (degree - 1) / degree of them.
/// Nothing for one device.
Timing all_reduce_time(const Hardware& hardware, double bytes, int degree);

/// The search of a policy, by its traits, and whether it `stops` at tokens or an error instead of a
/// share of the mass (parameter `stop`). Token codes have no kernel of their own: as items.
Search search_of(SearchKind kind, bool ranks_groups, bool dense, bool stops);
Search search_of(const PolicyInfo& policy, const Parameters& parameters);
/// Whether it weighs single tokens by keys in few bits beside what its traits say, as `head_kinds`
/// other than `one` does. There is no kernel for that.
bool keeps_single_keys(const Parameters& parameters);

/// Blocks that share a KV head's masses: one, but of kRanked as many as cuda/select/ranked.cu takes
/// from sm_90 on.
int search_team(const Hardware& hardware, Search search, double masses, double pairs);

/// Blocks of a search that one processor holds at a time: two by their registers (512 threads of 64
/// each), one where the masses of a head, which a block keeps in shared memory, leave no room for a
/// second. `masses`: of one query head.
int resident_blocks(const Hardware& hardware, Search search, double masses);

/// Turns that the blocks of `pairs` (sequence, KV head) pairs take. One where all are resident at
/// once; otherwise their number over the resident ones and one half: heads differ, the next block
/// starts wherever one ends, and the last turn is half full on average.
double search_turns(const Hardware& hardware, Search search, double masses, double pairs,
                    int group_size);

/// Masses of a block in all its turns. Those that shared memory does not keep count twice, since
/// they are measured anew; of kGroup, where one block a KV head goes on with the heads' sum, its
/// own turns count (cuda/select/select.cu).
double search_load(const Hardware& hardware, Search search, double masses, double pairs,
                   int group_size);

/// latency + turns * turn_latency + load / rate, by the machine's fit of this kind.
double search_seconds(const Machine& machine, Search search, double masses, double pairs,
                      int group_size);

}  // namespace doublep::sim
