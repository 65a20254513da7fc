#include "sim/cost/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace doublep::sim {
namespace {

constexpr double kTileTokens = 16;  // what a block of the attend kernel takes at least

Timing select_time(const Machine& machine, std::span<const HeadWork> heads, double bytes,
                   double flops, int group_size) {
  Timing t = kernel_time(machine, Access::kSelect, bytes, flops, "fp32");
  const double rate = machine.efficiency.search_rate;
  if (rate <= 0) return t;
  // A block searches one query head's masses; with more heads than processors they take turns.
  double longest = 0;
  for (const HeadWork& head : heads)
    longest = std::max(longest, head.bytes[static_cast<int>(Stage::kSelect)] / group_size);
  const double turns =
      std::ceil(static_cast<double>(heads.size()) * group_size / machine.hardware.processors.value);
  t.imbalance = longest * turns / rate;
  if (const double even = std::max(t.memory, t.compute); t.imbalance > even) {
    t.seconds = t.overhead + t.imbalance;
    t.bound = t.overhead >= t.imbalance ? Bound::kLaunch : Bound::kImbalance;
  }
  return t;
}

}  // namespace

double tile_bytes(const AttentionOptions& options) { return kTileTokens * options.token_bytes; }

double AttentionTiming::seconds() const {
  double sum = 0;
  for (const Timing& t : stages) sum += t.seconds;
  return sum - overlap;
}

AttentionTiming attention_time(const Machine& machine, std::span<const HeadWork> heads,
                               const AttentionOptions& options) {
  AttentionTiming result;
  int launched = 0;
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
    // A saving is never more than the latencies that it comes out of.
    if (launched++ > 0)
      result.overlap += std::min(machine.efficiency.overlap, machine.latency(Access::kSelect));
    if (stage == Stage::kSelect) {
      t = select_time(machine, heads, total, flops, options.group_size);
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
