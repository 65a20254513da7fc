#include "experiments/replay/truth_cache.h"

namespace doublep {
namespace {

std::size_t bytes_of(const TraceLayer& layer) {
  return sizeof(float) *
         (layer.keys.size() + layer.values.size() + layer.queries.size() + layer.outputs.size());
}

std::size_t bytes_of(const GroundTruth& truth) {
  return sizeof(double) * static_cast<std::size_t>(truth.weights.size() + truth.outputs.size() +
                                                   truth.log_sum_exp.size());
}

}  // namespace

bool TruthCache::take(std::size_t bytes) {
  if (bytes > free_) return false;
  free_ -= bytes;
  return true;
}

std::shared_ptr<const TraceLayer> TruthCache::layer(const LayerPart& part) {
  const std::lock_guard lock(mutex_);
  auto& in_use = in_use_[part];
  if (auto held = in_use.lock()) return held;
  auto read = std::make_shared<const TraceLayer>(trace_.read_layer(part));
  in_use = read;
  if (take(bytes_of(*read))) layers_.emplace(part, read);
  return read;
}

std::shared_ptr<const GroundTruth> TruthCache::truth(const TraceLayer& layer, std::int64_t step,
                                                     int kv_head) {
  const std::tuple key(layer.layer, step, layer.first_kv_head + kv_head);
  {
    const std::lock_guard lock(mutex_);
    if (const auto kept = truths_.find(key); kept != truths_.end()) return kept->second;
  }
  const KvCacheView cache = trace_.cache(layer).first(trace_.info().positions[step] + 1);
  auto made = std::make_shared<const GroundTruth>(GroundTruth::of(
      cache.head(kv_head), trace_.queries(layer, step).group(kv_head, layer.kv_heads)));
  const std::lock_guard lock(mutex_);
  if (take(bytes_of(*made))) truths_.emplace(key, made);
  return made;
}

}  // namespace doublep
