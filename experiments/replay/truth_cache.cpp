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

std::shared_ptr<const TraceLayer> TruthCache::layer(int index) {
  const std::lock_guard lock(mutex_);
  if (const auto kept = layers_.find(index); kept != layers_.end()) return kept->second;
  auto read = std::make_shared<const TraceLayer>(trace_.read_layer(index));
  if (take(bytes_of(*read))) layers_.emplace(index, read);
  return read;
}

std::shared_ptr<const GroundTruth> TruthCache::truth(const TraceLayer& layer, std::int64_t step,
                                                     int kv_head) {
  const std::tuple key(layer.layer, step, kv_head);
  {
    const std::lock_guard lock(mutex_);
    if (const auto kept = truths_.find(key); kept != truths_.end()) return kept->second;
  }
  const TraceInfo& info = trace_.info();
  const KvCacheView cache = trace_.cache(layer).first(info.positions[step] + 1);
  auto made = std::make_shared<const GroundTruth>(GroundTruth::of(
      cache.head(kv_head), trace_.queries(layer, step).group(kv_head, info.num_kv_heads)));
  const std::lock_guard lock(mutex_);
  if (take(bytes_of(*made))) truths_.emplace(key, made);
  return made;
}

}  // namespace doublep
