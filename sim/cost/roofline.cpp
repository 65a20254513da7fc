#include "sim/cost/roofline.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/base/error.h"

namespace doublep::sim {

std::string_view name_of(Bound bound) {
  constexpr std::array<std::string_view, kNumBounds> kNames = {
      "memory", "compute", "imbalance", "launch", "host link", "interconnect"};
  return kNames[static_cast<int>(bound)];
}

std::string_view name_of(Access access) {
  constexpr std::array<std::string_view, kNumAccesses> kNames = {"dense", "sparse", "summary",
                                                                 "gemm"};
  return kNames[static_cast<int>(access)];
}

std::string_view name_of(Search search) {
  constexpr std::array<std::string_view, kNumSearches> kNames = {"heads",  "pages", "group",
                                                                 "tokens", "zone",  "ranked"};
  return kNames[static_cast<int>(search)];
}

double Machine::latency(Access access) const {
  const double fitted = efficiency[access].latency;
  return fitted < 0 ? hardware.launch_overhead.value : fitted;
}

double Machine::small_kernel_latency() const {
  return efficiency.small_latency < 0 ? hardware.launch_overhead.value : efficiency.small_latency;
}

Timing kernel_time(const Machine& machine, Access access, double bytes, double flops,
                   const std::string& dtype, double slowest_share, int launches) {
  const KernelFit& fit = machine.efficiency[access];
  Timing t;
  t.overhead = launches * machine.latency(access);
  t.memory = bytes / (fit.share * machine.hardware.bandwidth());
  t.compute = flops > 0 ? flops / (fit.compute_share * machine.hardware.flops(dtype)) : 0;
  t.imbalance = std::max(t.memory, t.compute) * std::max(1.0, slowest_share);
  const double work = std::max({t.memory, t.compute, t.imbalance});
  t.seconds = t.overhead + work;
  // The excess over an even split is what balance would save; name it where it is the largest part.
  const double even = std::max(t.memory, t.compute), excess = t.imbalance - even;
  if (t.overhead >= even && t.overhead >= excess)
    t.bound = Bound::kLaunch;
  else if (excess > even)
    t.bound = Bound::kImbalance;
  else
    t.bound = t.compute > t.memory ? Bound::kCompute : Bound::kMemory;
  return t;
}

Timing gemm_time(const Machine& machine, const Gemm& gemm, std::int64_t rows) {
  const double n = static_cast<double>(gemm.n), k = static_cast<double>(gemm.k),
               m = static_cast<double>(rows) * gemm.active;
  const double read = distinct_experts(gemm.experts, gemm.active, static_cast<double>(rows));
  const double bytes =
      read * n * gemm.storage.row_bytes(k) + m * (n + k) * gemm.storage.activation_bytes();
  return kernel_time(machine, Access::kGemm, bytes, 2 * m * n * k,
                     std::string(gemm.storage.compute()));
}

Timing all_reduce_time(const Hardware& hardware, double bytes, int degree) {
  Timing t;
  if (degree <= 1) return t;
  if (hardware.interconnect_bandwidth.value <= 0)
    fail_input("hardware ", hardware.name,
               ": tensor parallelism needs an interconnect; give interconnect_bandwidth");
  t.overhead = hardware.interconnect_latency.value;
  t.memory = 2.0 * (degree - 1) / degree * bytes / hardware.interconnect_bandwidth.value;
  t.seconds = t.overhead + t.memory;
  t.bound = Bound::kInterconnect;
  return t;
}

namespace {

constexpr double kMassBytes = 4;          // float32
constexpr double kOwnBytes = 26e3;        // shared memory of a block beside its masses
constexpr double kSlotsPerCandidate = 4;  // kTokens: room for all tokens, a quarter are candidates
constexpr int kMostResident = 2;
constexpr double kAnew = 1;  // what a mass costs more that a block does not keep

}  // namespace

Search search_of(SearchKind kind, bool ranks_groups, bool dense, bool stops) {
  if (kind == SearchKind::kClusters && stops) return Search::kRanked;
  if (kind == SearchKind::kTokens) return Search::kTokens;
  if (kind == SearchKind::kPages) return Search::kPages;
  if (kind == SearchKind::kNone && !dense) return Search::kZone;
  return ranks_groups ? Search::kGroup : Search::kHeads;
}

int resident_blocks(const Hardware& hardware, Search search, double masses) {
  const double slots = masses * (search == Search::kTokens ? kSlotsPerCandidate : 1);
  const double fit = hardware.shared_bytes() / (kOwnBytes + kMassBytes * slots);
  return std::clamp(static_cast<int>(fit), 1, kMostResident);
}

Search search_of(const PolicyInfo& policy, const Parameters& p) {
  return search_of(policy.traits.search, policy.ranks_groups(p), policy.traits.dense,
                   p.has("stop") && p.choice("stop") != "mass");
}

bool keeps_single_keys(const Parameters& p) {
  return p.has("head_kinds") && p.choice("head_kinds") != "one";
}

int search_team(const Hardware& hardware, Search search, double masses, double pairs) {
  int team = 1;
  while (search == Search::kRanked && team < 8 && 2 * team * pairs <= hardware.processors.value &&
         masses / team > (team > 1 ? 256 : 128))
    team *= 2;
  return team;
}

double search_turns(const Hardware& hardware, Search search, double masses, double pairs,
                    int group_size) {
  const int team = search_team(hardware, search, masses, pairs);
  const double blocks = pairs * (search == Search::kRanked ? team : group_size);
  const double turns =
      blocks / (hardware.processors.value * resident_blocks(hardware, search, masses / team));
  return turns <= 1 ? 1 : turns + 0.5;
}

double search_load(const Hardware& hardware, Search search, double masses, double pairs,
                   int group_size) {
  double each = masses / search_team(hardware, search, masses, pairs);
  if (search != Search::kRanked) {  // which refuses more than it keeps
    const double slots = search == Search::kTokens ? kSlotsPerCandidate : 1;
    each +=
        kAnew * std::max(0.0, masses - (hardware.shared_bytes() - kOwnBytes) / kMassBytes / slots);
  }
  const int heads = search == Search::kGroup ? 1 : group_size;
  return each * search_turns(hardware, search, masses, pairs, heads);
}

double search_seconds(const Machine& machine, Search search, double masses, double pairs,
                      int group_size) {
  // Measurements from before there was such a search say nothing of it: as its nearest relation.
  const auto& fits = machine.efficiency.searches;
  const bool timed = search != Search::kRanked || fits[static_cast<int>(search)].latency >= 0;
  const SearchFit& fit = fits[static_cast<int>(timed ? search : Search::kGroup)];
  const double latency = fit.latency < 0 ? machine.hardware.launch_overhead.value : fit.latency;
  const double load = search_load(machine.hardware, search, masses, pairs, group_size);
  return latency +
         fit.turn_latency * search_turns(machine.hardware, search, masses, pairs, group_size) +
         (fit.rate > 0 ? load / fit.rate : 0);
}

}  // namespace doublep::sim
