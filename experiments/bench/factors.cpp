// What a setting that stops by error multiplies its predictions with, learnt over what is timed.
#include "core/base/error.h"
#include "core/base/parallel.h"
#include "cuda/decoder/on_host.h"
#include "experiments/bench/subject.h"

namespace doublep::bench {

void Subject::tell_factors(const Setting& setting) {
  for (int b = 0; b < batch(); ++b) {
    const std::string name = concat(setting.label, " at ", contexts_[b], " tokens, place ", place_);
    auto& factors = heads_.learnt()[name];
    if (factors.empty()) factors = learn_factors(setting, b);
    for (int h = 0; h < heads_.kv_heads(); ++h)
      step_->set_factors(b * heads_.kv_heads() + h,
                         {factors[h].data(), factors[h].data() + heads_.group()});
  }
}

RecordedHeads::Factors Subject::learn_factors(const Setting& setting, int sequence) {
  const int kv_heads = heads_.kv_heads(), d = heads_.head_dim();
  const std::int64_t length = contexts_[sequence], clusters = plan_.items(length);
  const ExactZone exact = zone(sequence);
  const cuda::HostRows rows = cuda::rows_on_host(cache_, sequence, length);
  std::vector<KvHead> heads;
  std::vector<std::shared_ptr<const ClusterIndex>> indexes;
  for (int h = 0; h < kv_heads; ++h) {
    const std::int64_t pair = static_cast<std::int64_t>(sequence) * kv_heads + h,
                       first = h * cache_.capacity() * d;
    heads.push_back({rows.keys.data() + first, rows.values.data() + first, length, d, d,
                     heads_.prefill_queries(recorded(h))});
    std::vector<std::int32_t> order(length);
    DP_CUDA(cudaMemcpy(order.data(), cache_.order(pair), order.size() * sizeof(std::int32_t),
                       cudaMemcpyDeviceToHost));
    indexes.push_back(cuda::clusters_on_host(plan_, cache_.dtype(), *index_, pair, clusters, exact,
                                             heads.back(), order));
  }
  RecordedHeads::Factors factors(kv_heads);
  parallel_for(kv_heads, [&](std::int64_t h) {
    PromiseLearner learner(setting.parameters, dtype_);
    learner.prefill(heads[h], exact, clusters);
    cuda::learn_on_host(plan_, heads[h], exact, indexes[h], heads_.group(), heads_.scale(),
                        learner);
    factors[h] = learner.factors(heads_.group());
  });
  return factors;
}

}  // namespace doublep::bench
