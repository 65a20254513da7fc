#include "sim/cost/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace doublep::sim {
namespace {

constexpr int kSelect = static_cast<int>(Stage::kSelect);
constexpr double kTileTokens = 16;  // what a block of the attend kernel takes at least

Timing select_time(const Machine& machine, std::span<const HeadWork> heads,
                   const AttentionOptions& options) {
  double longest = 0;  // masses of one query head, float32
  for (const HeadWork& head : heads)
    longest = std::max(longest, head.bytes[kSelect] / (4.0 * options.group_size));
  Timing t;
  t.overhead = search_seconds(machine, options.search, 0, 1, options.group_size);
  t.seconds = search_seconds(machine, options.search, longest, static_cast<double>(heads.size()),
                             options.group_size);
  t.imbalance = t.seconds - t.overhead;
  t.bound = t.overhead >= t.imbalance ? Bound::kLaunch : Bound::kImbalance;
  return t;
}

}  // namespace

double search_turns(const Hardware& hardware, Search search, double pairs, int group_size) {
  const double blocks = search == Search::kTokens ? pairs * group_size : pairs;
  return std::ceil(blocks / hardware.processors.value);
}

double search_seconds(const Machine& machine, Search search, double masses, double pairs,
                      int group_size) {
  const SearchFit& fit = machine.efficiency.searches[static_cast<int>(search)];
  const double latency = fit.latency < 0 ? machine.hardware.launch_overhead.value : fit.latency;
  if (fit.rate <= 0) return latency;
  const double turns = search_turns(machine.hardware, search, pairs, group_size);
  return latency + turns * (fit.turn_latency + masses / fit.rate);
}

double tile_bytes(const AttentionOptions& options) { return kTileTokens * options.token_bytes; }

double AttentionTiming::seconds() const {
  double sum = 0;
  for (const Timing& t : stages) sum += t.seconds;
  return sum;
}

AttentionTiming attention_time(const Machine& machine, std::span<const HeadWork> heads,
                               const AttentionOptions& options) {
  AttentionTiming result;
  const int processors = static_cast<int>(machine.hardware.processors.value);
  for (Stage stage : {Stage::kEstimate, Stage::kSelect, Stage::kAttend}) {
    const int s = static_cast<int>(stage);
    std::vector<double> bytes;
    double total = 0, flops = 0;
    for (const HeadWork& head : heads) {
      bytes.push_back(head.bytes[s]);
      total += head.bytes[s], flops += head.flops[s];
    }
    if (total <= 0 && flops <= 0) continue;
    Timing& t = result.stages[s];
    if (stage == Stage::kSelect) {
      t = select_time(machine, heads, options);
      continue;
    }
    const double tile = tile_bytes(options);
    const double slowest = imbalance(bytes, processors, options.balance, tile);
    const Access access = stage == Stage::kEstimate ? Access::kSummary
                          : options.dense           ? Access::kDense
                                                    : Access::kSparse;
    t = kernel_time(machine, access, total, flops, "bf16", slowest);
    if (stage != Stage::kAttend) continue;
    result.imbalance = imbalance(bytes, processors, Balance::kHead, tile);
    if (options.host_bytes <= 0) continue;
    const double link = options.host_bytes / machine.hardware.host_link_bandwidth.value;
    if (link > t.seconds) t.seconds = link, t.bound = Bound::kHostLink;
  }
  return result;
}

}  // namespace doublep::sim
