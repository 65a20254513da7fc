// One decode step of a whole model: what a token costs on a machine, by part; what a served batch
// occupies on one device; and what comes before the first token: dense prefill of the prompt, and
// the index over its keys.
#pragma once

#include <string>
#include <vector>

#include "sim/cost/attention.h"
#include "sim/cost/roofline.h"
#include "sim/model/model.h"
#include "sim/profile/workload.h"

namespace doublep::sim {

/// Kernels of a layer beside products and attention: two norms (residuals fused in), rotary
/// embedding with the append to the cache, activation times gate. Another norm ends the stack, and
/// where there is attention, its output is turned to 16 bits in every layer.
inline constexpr int kSmallKernels = 4;
/// All of a step: with experts also the choice and the weighted sum, of a latent its norm (and that
/// of queries which have one).
int small_kernels(const Model& model);

enum class KvPlace {
  kHbm,  ///< all keys and values in device memory
  kHost  ///< in host memory, with a cache of hot tokens and the index on the device
};

struct DecodePoint {
  std::int64_t context = 0;  ///< tokens that every sequence of the batch has
  int batch = 1;
  int tensor_parallel = 1;
  Storage kv{Format::kBf16, kCacheGroup};  ///< of keys and values
  KvPlace place = KvPlace::kHbm;
  double cache_share = 0.05;    ///< kHost: of the context that the device keeps
  double recluster_every = -1;  ///< tokens; negative: as the policy was profiled; 0: never
  Balance balance = Balance::kSplit;
  double memory_share = 0.9;  ///< of the device's memory that weights, cache and index may fill
};

/// What lies outside of what was measured, bit by bit.
enum Extrapolated : unsigned {
  kTraceLength = 1,  ///< context beyond the profiled traces
  kGroupSize = 2,    ///< the model groups query heads as no trace does
  kHeadDim = 4,
  kMachine = 8,        ///< efficiencies come from another machine, or from none
  kTimedContext = 16,  ///< context beyond the timed points
  kTimedBatch = 32,    ///< batch beyond the timed points
  kProducts = 64,      ///< matrix products and small kernels were not timed on this machine, or
                       ///< none of experts, latents or integers
  kCacheFormat = 128,  ///< keys and values in 8 bits or less: by kernels that nobody timed
  kSearchKind = 256    ///< nobody timed a search of this kind, or there is no kernel for it
};
/// "trace length, machine", or "" for 0.
std::string text_of(unsigned extrapolated);

/// Where the numbers behind a prediction come from.
struct Coverage {
  bool calibrated = false;  ///< efficiencies were fitted on this very machine
  std::int64_t context_low = 0, context_high = 0;  ///< contexts that were measured
  int batch_high = 0;
  bool products = false;                      ///< the step without attention was measured too
  std::array<bool, kNumSearches> searches{};  ///< which were measured
};

struct Part {
  std::string name;
  double seconds = 0;
  Bound bound = Bound::kMemory;
};

struct DecodeCost {
  std::vector<Part> parts;  ///< qkv and o, estimate, select, attend, mlp, ...; sums over layers
  double seconds = 0;       ///< per decode step (one token of every sequence)
  double attention = 0;     ///< of which estimate, select and attend
  Bound bound = Bound::kMemory;  ///< where most of the time goes
  double imbalance = 1;     ///< mean over layers: the price of one block per (sequence, KV head)
  double bytes = 0;         ///< attention reads per device and step
  double exact_tokens = 0;  ///< mean per KV head: read exactly (union over a group)
  double hit_rate = 1;      ///< kHost: of the device's cache
  double memory = 0;        ///< bytes per device
  bool fits = true;
  unsigned extrapolated = 0;  ///< bits of Extrapolated
};

DecodeCost decode_step(const Model& model, const Machine& machine, const Workload& workload,
                       const DecodePoint& point, const Coverage& coverage = {});

/// Bits of Extrapolated.
unsigned extrapolations(const Model& model, const Workload& workload, const DecodePoint& point,
                        const Coverage& coverage);

/// Work of every (sequence, KV head) of one device in one layer, scaled to the model's shape. A
/// packed cache packs the exact tokens of attend but sinks and window; what an index holds and mean
/// values stay in 16 bits. A latent cache is read once for keys and values.
std::vector<HeadWork> layer_work(const Model& model, const Workload& workload,
                                 const Workload::View& view, const DecodePoint& point, int layer);

struct MemoryUse {
  double weights = 0, kv = 0, index = 0;  ///< bytes on one device
  double total() const { return weights + kv + index; }
};

/// Weights are split over the devices, KV heads too; the index belongs to its KV heads. With the
/// cache on the host, the device holds `cache_share` of it and the whole index.
MemoryUse memory_use(const Model& model, const Workload& workload, const DecodePoint& point);

/// Bytes that one more sequence of this context takes on a device.
double sequence_bytes(const Model& model, const Workload& workload, const DecodePoint& point);

/// The largest batch that fits; 0 where the weights alone do not.
int largest_batch(const Model& model, const Machine& machine, const Workload& workload,
                  const DecodePoint& point);

/// Dense prefill of `tokens` in one go: products over all tokens and causal attention, bounded by
/// compute or, for short prompts, by reading the weights. Without the index.
double prefill_seconds(const Model& model, const Machine& machine, std::int64_t tokens,
                       int tensor_parallel);

/// Building the index of every layer over a context, for the KV heads of one device.
double build_seconds(const Model& model, const Machine& machine, const Workload& workload,
                     std::int64_t context, int tensor_parallel);

}  // namespace doublep::sim
