#include "experiments/e2e/attention.h"

namespace doublep::e2e {

LayerAttention::LayerAttention(const bench::Workload& workload, const bench::Spec& spec,
                               std::int64_t context, int batch, int place) {
  const int heads = workload.kv_heads();
  const cuda::Shape shape{batch * heads, heads, workload.group(), workload.head_dim()};
  cache_ = std::make_unique<cuda::Cache>(shape, cuda::DType::kBf16, context);
  if (spec.clustered)
    cluster(workload, spec, context, place);
  else
    fill_rows(workload, context, place);
  for (int b = 0; b < batch && !spec.clustered; ++b)
    cache_->set_zones(b, static_cast<std::int32_t>(spec.sink),
                      static_cast<std::int32_t>(context - spec.window),
                      static_cast<std::int32_t>(context));
  if (spec.options.pages) {
    items_ = context / cuda::kTile;
    index_ = std::make_unique<cuda::ItemIndex>(*cache_, items_, true,
                                               spec.options.kind == cuda::StepKind::kTwilight);
    for (int b = 0; b < batch; ++b) index_->build_pages(*cache_, b, nullptr);
  }
  step_ = std::make_unique<cuda::DecodeStep>(*cache_, index_.get(), spec.options);
  if (spec.options.rule == cuda::SelectRule::kCount) set_budgets(spec);
  std::vector<std::uint16_t> queries;
  for (int b = 0; b < batch; ++b) {
    const auto mine = workload.queries(b + place, place * 5);
    queries.insert(queries.end(), mine.begin(), mine.end());
  }
  DP_CUDA(cudaMemcpy(step_->queries(), queries.data(), queries.size() * sizeof(std::uint16_t),
                     cudaMemcpyHostToDevice));
}

void LayerAttention::fill_rows(const bench::Workload& workload, std::int64_t context, int place) {
  for (int b = 0; b < cache_->batch(); ++b)
    for (int h = 0; h < workload.kv_heads(); ++h) {
      const std::int64_t pair = static_cast<std::int64_t>(b) * workload.kv_heads() + h;
      workload.fill(true, b + place, h, context, cache_->keys(pair), nullptr);
      workload.fill(false, b + place, h, context, cache_->values(pair), nullptr);
    }
}

void LayerAttention::cluster(const bench::Workload& workload, const bench::Spec& spec,
                             std::int64_t context, int place) {
  const auto sink = static_cast<std::int32_t>(spec.sink),
             tail = static_cast<std::int32_t>(context - spec.window),
             length = static_cast<std::int32_t>(context);
  items_ = cuda::total_clusters(cuda::make_segments(tail - sink, spec.clustering.tokens_per_cluster,
                                                    0, spec.clustering.segment));
  index_ = std::make_unique<cuda::ItemIndex>(*cache_, items_, true);
  const int heads = workload.kv_heads();
  cuda::Cache source({heads, heads, workload.group(), workload.head_dim()}, cuda::DType::kBf16,
                     context);
  for (int b = 0; b < cache_->batch(); ++b) {
    for (int h = 0; h < heads; ++h) {
      workload.fill(true, b + place, h, context, source.keys(h), nullptr);
      workload.fill(false, b + place, h, context, source.values(h), nullptr);
    }
    index_->build_clusters(*cache_, b, source.keys(), source.values(), context, sink, tail, length,
                           spec.clustering, nullptr);
    DP_CUDA(cudaDeviceSynchronize());
  }
}

void LayerAttention::set_budgets(const bench::Spec& spec) {
  const auto items = [&](double budget) {
    return static_cast<std::int32_t>(budget < 1           ? budget * static_cast<double>(items_)
                                     : spec.options.pages ? budget / cuda::kTile
                                                          : budget);
  };
  for (int b = 0; b < cache_->batch(); ++b)
    step_->set_budget(b, items(spec.kept), items(spec.refined));
}

}  // namespace doublep::e2e
