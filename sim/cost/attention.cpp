#include "sim/cost/attention.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <queue>
#include <vector>

#include "sim/cost/roofline.h"

namespace doublep::sim {
namespace {

constexpr double kTileTokens = 16;  // what a block of the attend kernel takes at least

Timing select_time(const Machine& machine, std::span<const HeadWork> heads,
                   const AttentionOptions& options) {
  double longest = 0;  // masses of one query head, float32
  for (const HeadWork& head : heads)
    longest = std::max(longest,
                       head.bytes[static_cast<int>(Stage::kSelect)] / (4.0 * options.group_size));
  Timing t;
  t.overhead = search_seconds(machine, options.search, 0, 1, options.group_size);
  t.seconds = search_seconds(machine, options.search, longest, static_cast<double>(heads.size()),
                             options.group_size);
  t.imbalance = t.seconds - t.overhead;
  t.bound = t.overhead >= t.imbalance ? Bound::kLaunch : Bound::kImbalance;
  return t;
}

}  // namespace

double imbalance(std::span<const double> work, int processors, Balance balance, double tile) {
  const double total = std::accumulate(work.begin(), work.end(), 0.0);
  if (total <= 0 || processors <= 1) return 1;
  if (balance == Balance::kSplit) {
    if (tile <= 0) return 1;
    double tiles = 0;
    for (double w : work) tiles += std::ceil(w / tile);
    return std::max(1.0, std::ceil(tiles / processors) * tile * processors / total);
  }
  std::priority_queue<double, std::vector<double>, std::greater<>> free_at;
  for (int p = 0; p < processors; ++p) free_at.push(0);
  double last = 0;
  for (double w : work) {
    const double end = free_at.top() + w;
    free_at.pop();
    free_at.push(end);
    last = std::max(last, end);
  }
  return std::max(1.0, last * processors / total);
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
    const bool zone = options.search == Search::kZone;
    if (total <= 0 && flops <= 0 && !(zone && stage == Stage::kSelect)) continue;
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
    // The fit of a step without a search holds all that does not grow with its bytes.
    const bool fitted =
        zone && machine.efficiency.searches[static_cast<int>(Search::kZone)].latency >= 0;
    t = kernel_time(machine, access, total, flops, "bf16", slowest, fitted ? 0 : 1);
    if (stage != Stage::kAttend) continue;
    result.imbalance = imbalance(bytes, processors, Balance::kHead, tile);
    if (options.host_bytes <= 0) continue;
    const double link = options.host_bytes / machine.hardware.host_link_bandwidth.value;
    if (link > t.seconds) t.seconds = link, t.bound = Bound::kHostLink;
  }
  return result;
}

}  // namespace doublep::sim
