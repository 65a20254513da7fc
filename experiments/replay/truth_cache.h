// What the runs of a sweep share of a trace: its layers in memory and the ground truth of its
// steps, which do not depend on the policy. Computed once, and kept as far as the memory allows.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "core/metrics/step_metrics.h"
#include "core/trace/trace.h"

namespace doublep {

class TruthCache {
 public:
  /// Keeps at most `most_bytes`. Nothing is evicted: runs ask for the same steps in the same order,
  /// so that the oldest would always go just before it is wanted again.
  TruthCache(const Trace& trace, std::size_t most_bytes) : trace_(trace), free_(most_bytes) {}

  /// Reads a part once for as long as somebody holds it, too, whether the memory allows it or not.
  std::shared_ptr<const TraceLayer> layer(const LayerPart& part);
  /// Of the query heads of one KV head, counted within what was read, over the keys that the step
  /// sees. From any thread.
  std::shared_ptr<const GroundTruth> truth(const TraceLayer& layer, std::int64_t step, int kv_head);

 private:
  bool take(std::size_t bytes);

  const Trace& trace_;
  std::mutex mutex_;
  std::size_t free_;
  std::map<LayerPart, std::shared_ptr<const TraceLayer>> layers_;
  std::map<LayerPart, std::weak_ptr<const TraceLayer>> in_use_;
  std::map<std::tuple<int, std::int64_t, int>, std::shared_ptr<const GroundTruth>> truths_;
};

}  // namespace doublep
