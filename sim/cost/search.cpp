#include "sim/cost/search.h"

#include <algorithm>
#include <cmath>

namespace doublep::sim {
namespace {

constexpr double kMassBytes = 4;          // float32
constexpr double kOwnBytes = 26e3;        // shared memory of a block beside its masses
constexpr double kSlotsPerCandidate = 4;  // kTokens: room for all tokens, a quarter are candidates
constexpr int kMostResident = 2;

}  // namespace

Search search_of(SearchKind kind, bool ranks_groups, bool dense) {
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

double search_turns(const Hardware& hardware, Search search, double masses, double pairs,
                    int group_size) {
  const double turns =
      pairs * group_size / (hardware.processors.value * resident_blocks(hardware, search, masses));
  return turns <= 1 ? 1 : turns + 0.5;
}

double search_seconds(const Machine& machine, Search search, double masses, double pairs,
                      int group_size) {
  const SearchFit& fit = machine.efficiency.searches[static_cast<int>(search)];
  const double latency = fit.latency < 0 ? machine.hardware.launch_overhead.value : fit.latency;
  const double each = fit.turn_latency + (fit.rate > 0 ? masses / fit.rate : 0);
  if (each <= 0) return latency;
  return latency + each * search_turns(machine.hardware, search, masses, pairs, group_size);
}

}  // namespace doublep::sim
