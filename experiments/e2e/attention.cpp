#include "experiments/e2e/attention.h"

#include <algorithm>
#include <chrono>

#include "core/base/error.h"

namespace doublep::e2e {
namespace {

cuda::Shape shape_of(const bench::Workload& w, int batch) {
  return {batch * w.kv_heads(), w.kv_heads(), w.group(), w.head_dim()};
}

bool needs_nibbles(const bench::Spec& spec) {
  return spec.options.kind == cuda::StepKind::kTwilight;
}

std::int64_t clusters_of(const bench::Spec& spec, std::int64_t context) {
  return cuda::total_clusters(cuda::make_segments(context - spec.window - spec.sink,
                                                  spec.clustering.tokens_per_cluster, 0,
                                                  spec.clustering.segment));
}

double row_bytes(const bench::Workload& w) { return 2.0 * w.head_dim(); }

}  // namespace

LayerAttention::LayerAttention(const bench::Workload& workload, std::int64_t context, int batch,
                               int place)
    : workload_(workload),
      context_(context),
      batch_(batch),
      place_(place),
      cache_(shape_of(workload, batch), cuda::DType::kBf16, context) {}

void LayerAttention::prepare(const bench::Spec& spec, cuda::Cache* source) {
  step_.reset();
  if (const std::string key = bench::index_key(spec); key != held_) {
    index_.reset();
    held_.clear(), items_ = 0, build_ms_ = 0;
    if (spec.clustered)
      cluster(spec, *source);
    else
      page(spec);
    held_ = key, in_token_order_ = !spec.clustered;
  }
  if (held_ == "rows")  // the zones belong to the policy: no two need have the same window
    for (int b = 0; b < batch_; ++b)
      cache_.set_zones(b, static_cast<std::int32_t>(spec.sink),
                       static_cast<std::int32_t>(context_ - spec.window),
                       static_cast<std::int32_t>(context_));
  step_ = std::make_unique<cuda::DecodeStep>(cache_, index_.get(), spec.options);
  if (spec.options.rule == cuda::SelectRule::kCount) set_budgets(spec);
  std::vector<std::uint16_t> queries;
  for (int b = 0; b < batch_; ++b) {
    const auto mine = workload_.queries(b + place_, place_ * 5);
    queries.insert(queries.end(), mine.begin(), mine.end());
  }
  DP_CUDA(cudaMemcpy(step_->queries(), queries.data(), queries.size() * sizeof(std::uint16_t),
                     cudaMemcpyHostToDevice));
  poison();
}

void LayerAttention::fill(cuda::Cache& cache, int sequence_of_cache, int sequence) {
  for (int h = 0; h < workload_.kv_heads(); ++h) {
    const std::int64_t pair =
        static_cast<std::int64_t>(sequence_of_cache) * workload_.kv_heads() + h;
    workload_.fill(true, sequence, h, context_, cache.keys(pair), nullptr);
    workload_.fill(false, sequence, h, context_, cache.values(pair), nullptr);
  }
}

void LayerAttention::page(const bench::Spec& spec) {
  for (int b = 0; b < batch_ && !in_token_order_; ++b) fill(cache_, b, b + place_);
  DP_CUDA(cudaDeviceSynchronize());
  if (!spec.options.pages) return;
  for (int b = 0; b < batch_; ++b) cache_.set_zones(b, 0, 0, static_cast<std::int32_t>(context_));
  items_ = context_ / cuda::kTile;
  index_ = std::make_unique<cuda::ItemIndex>(cache_, items_, true, needs_nibbles(spec));
  const auto begin = std::chrono::steady_clock::now();
  for (int b = 0; b < batch_; ++b) index_->build_pages(cache_, b, nullptr);
  DP_CUDA(cudaDeviceSynchronize());
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  build_ms_ = took.count() / batch_;
}

void LayerAttention::cluster(const bench::Spec& spec, cuda::Cache& source) {
  const auto sink = static_cast<std::int32_t>(spec.sink),
             tail = static_cast<std::int32_t>(context_ - spec.window),
             length = static_cast<std::int32_t>(context_);
  in_token_order_ = false;
  items_ = clusters_of(spec, context_);
  index_ = std::make_unique<cuda::ItemIndex>(cache_, items_, true);
  for (int b = 0; b < batch_; ++b) {
    fill(source, 0, b + place_);
    DP_CUDA(cudaDeviceSynchronize());
    const auto begin = std::chrono::steady_clock::now();
    index_->build_clusters(cache_, b, source.keys(), source.values(), context_, sink, tail, length,
                           spec.clustering, nullptr);
    DP_CUDA(cudaDeviceSynchronize());
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    // The first one also allocates.
    build_ms_ = b == 0 ? took.count() : std::min(build_ms_, took.count());
  }
}

void LayerAttention::set_budgets(const bench::Spec& spec) {
  const auto items = [&](double budget) {
    return static_cast<std::int32_t>(budget < 1           ? budget * static_cast<double>(items_)
                                     : spec.options.pages ? budget / cuda::kTile
                                                          : budget);
  };
  for (int b = 0; b < batch_; ++b) step_->set_budget(b, items(spec.kept), items(spec.refined));
}

void LayerAttention::poison() {
  const std::size_t floats =
      static_cast<std::size_t>(cache_.shape().pairs) * workload_.group() * workload_.head_dim();
  DP_CUDA(cudaMemset(const_cast<float*>(step_->output()), 0xFF, floats * sizeof(float)));
  DP_CUDA(cudaDeviceSynchronize());  // streams of other kinds do not wait for this one
}

std::vector<float> LayerAttention::output(int sequences) const {
  std::vector<float> host(static_cast<std::size_t>(std::min(sequences, batch_)) *
                          workload_.kv_heads() * workload_.group() * workload_.head_dim());
  DP_CUDA(cudaMemcpy(host.data(), step_->output(), host.size() * sizeof(float),
                     cudaMemcpyDeviceToHost));
  return host;
}

double LayerAttention::bytes(const bench::Workload& w, const std::vector<bench::Spec>& specs,
                             std::int64_t context, int batch) {
  const double heads = w.kv_heads(), pairs = heads * batch, n = static_cast<double>(context),
               row = row_bytes(w);
  const double cache = pairs * n * (2 * row + sizeof(std::int32_t));
  double most = 0;
  for (const bench::Spec& spec : specs) {
    const bool items_needed = spec.clustered || spec.options.pages;
    const double items = !items_needed
                             ? 0
                             : 16 + static_cast<double>(spec.clustered ? clusters_of(spec, context)
                                                                       : context / cuda::kTile);
    double bytes = items * pairs * (2 * row + sizeof(cuda::ClusterMeta) + sizeof(std::int32_t));
    // The step's lists: masses and codes of every query head, of the group, runs and terms.
    bytes +=
        pairs * (w.group() * items * 5 + items * 8 + (n / cuda::kTile + items) * sizeof(cuda::Run));
    if (spec.clustered)  // labels and tokens, twice each, the sort's own space, moving centroids
      bytes += heads * (n * (16 + 16) + items * (row + 8));
    if (needs_nibbles(spec)) bytes += pairs * n * (row / 4 + 8 + w.group() * 5 + 8);
    most = std::max(most, bytes);
  }
  return cache + most + (16 << 20);  // partial results and what allocations are rounded up to
}

double LayerAttention::source_bytes(const bench::Workload& w, std::int64_t context) {
  return static_cast<double>(context) * w.kv_heads() * (2 * row_bytes(w) + sizeof(std::int32_t));
}

}  // namespace doublep::e2e
