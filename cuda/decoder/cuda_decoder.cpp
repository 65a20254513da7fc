#include "cuda/decoder/cuda_decoder.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/policy/exact_zone.h"
#include "cuda/decoder/convert.h"

namespace doublep::cuda {

CudaDecoder::CudaDecoder(const PolicyInfo& policy, const Parameters& parameters,
                         const PolicyContext& context, const GivenClusters* clusters)
    : policy_(policy.name), parameters_(parameters), context_(context) {
  const Request request{1, 1, 128, context.kv_dtype};  // what is known before a cache is seen
  if (const std::string line = refusal(policy_, parameters_, request); !line.empty())
    throw InputError(line);
  if (const std::string line = device_problem(); !line.empty()) throw InputError(line);
  plan_ = plan_for(policy_, parameters_);
  dtype_ = device_type(context.kv_dtype);
  if (clusters) given_ = *clusters;
}

void CudaDecoder::prefill(const KvCacheView& cache) {
  DP_ASSERT(built_length_ == 0, "a decoder is prefilled once");
  view_ = cache;
  const ExactZone zone = ExactZone::of(plan_.sink, plan_.window, cache.length);
  sink_end_ = zone.sink_end, tail_begin_ = zone.tail_begin, built_length_ = cache.length;
}

void CudaDecoder::append(const KvCacheView& grown) {
  DP_ASSERT(grown.length >= view_.length && grown.keys == view_.keys,
            "append continues the cache that prefill saw");
  const std::int64_t before = view_.length;
  view_ = grown;
  const bool rebuild =
      plan_.recluster_every > 0 && grown.length - built_length_ >= plan_.recluster_every;
  if (rebuild || !plan_.clustered) {
    const ExactZone zone = ExactZone::of(plan_.sink, plan_.window, grown.length);
    sink_end_ = zone.sink_end, tail_begin_ = zone.tail_begin;
  }
  if (rebuild) built_length_ = grown.length;
  if (!step_) return;
  if (rebuild)
    step_.reset(), index_.reset(), cache_.reset();  // made anew at the next step
  else
    load_tail(before);
}

void CudaDecoder::open(const QueryBlock& queries) {
  const Request request{queries.num_query_heads, view_.num_kv_heads, view_.head_dim,
                        context_.kv_dtype};
  if (const std::string line = refusal(policy_, parameters_, request); !line.empty())
    throw InputError(line);
  shape_ = {view_.num_kv_heads, view_.num_kv_heads, queries.num_query_heads / view_.num_kv_heads,
            view_.head_dim};
  cache_ = std::make_unique<Cache>(shape_, dtype_, view_.capacity);
  host_indices_.clear(), host_order_.clear();
  load();
  StepOptions options = plan_.step;
  options.scale = static_cast<float>(queries.softmax_scale);
  if (plan_.mass_with_zone)
    options.zone_capacity = std::min(view_.capacity, sink_end_ + view_.capacity - tail_begin_);
  step_ = std::make_unique<DecodeStep>(*cache_, index_.get(), options);
  if (options.rule == SelectRule::kCount) {
    const auto k = static_cast<std::int32_t>(budget_tokens(plan_.top_k, clusters_));
    step_->set_budget(0, k, k);
  }
}

void CudaDecoder::load() {
  const std::int64_t count = view_.num_kv_heads * view_.capacity * view_.head_dim;
  if (!plan_.clustered) {
    load_tail(0);
    return;
  }
  const std::int64_t points = tail_begin_ - sink_end_, n = view_.num_kv_heads;
  DeviceBuffer<unsigned char> keys, values;
  keys.upload(to_device_type(view_.keys, count, dtype_));
  values.upload(to_device_type(view_.values, count, dtype_));
  ItemIndex::Clustering options = plan_.clustering;
  std::vector<std::int32_t> labels;
  if (given_) {
    for (const auto& head : given_->labels) labels.insert(labels.end(), head.begin(), head.end());
    DP_ASSERT(static_cast<std::int64_t>(labels.size()) == n * points,
              "a label per clustered token");
    options.labels = labels.data(), options.clusters = clusters_ = given_->clusters;
  } else {
    const auto segments =
        make_segments(points, options.tokens_per_cluster, options.clusters, options.segment);
    clusters_ = total_clusters(segments);
    for (const Segment& s : segments)
      build_ += Work{2.0 * options.iterations * n * s.points * view_.head_dim * bytes_of(dtype_),
                     2.0 * options.iterations * n * s.points * s.clusters * view_.head_dim};
  }
  index_ = std::make_unique<ItemIndex>(*cache_, clusters_, true);
  index_->build_clusters(*cache_, 0, keys.get(), values.get(), view_.capacity,
                         static_cast<std::int32_t>(sink_end_),
                         static_cast<std::int32_t>(tail_begin_),
                         static_cast<std::int32_t>(view_.length), options, nullptr);
  DP_CUDA(cudaDeviceSynchronize());  // the source buffers go
}

void CudaDecoder::load_tail(std::int64_t from) {
  const std::int64_t rows = view_.length - from, d = view_.head_dim;
  std::vector<std::int32_t> order(rows);
  for (std::int64_t i = 0; i < rows; ++i) order[i] = static_cast<std::int32_t>(from + i);
  for (int h = 0; h < view_.num_kv_heads && rows > 0; ++h) {
    const KvHead head = view_.head(h);
    const auto put = [&](void* base, const float* source) {
      const auto bytes = to_device_type(source, rows * d, dtype_);
      DP_CUDA(cudaMemcpy(static_cast<char*>(base) + from * cache_->row_bytes(), bytes.data(),
                         bytes.size(), cudaMemcpyHostToDevice));
    };
    put(cache_->keys(h), head.key(from));
    put(cache_->values(h), head.value(from));
    DP_CUDA(cudaMemcpy(cache_->order(h) + from, order.data(), rows * sizeof(std::int32_t),
                       cudaMemcpyHostToDevice));
  }
  cache_->set_zones(0, static_cast<std::int32_t>(sink_end_), static_cast<std::int32_t>(tail_begin_),
                    static_cast<std::int32_t>(view_.length));
}

StepResult CudaDecoder::step(const QueryBlock& queries, Audit wanted) {
  if (!step_) open(queries);
  DP_ASSERT(queries.num_query_heads == shape_.pairs * shape_.group, "the shape of a decoder stays");
  const std::int64_t values = static_cast<std::int64_t>(queries.num_query_heads) * queries.head_dim;
  const auto bytes = to_device_type(queries.queries, values, dtype_);
  DP_CUDA(cudaMemcpy(step_->queries(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
  step_->enqueue(nullptr);
  StepResult result;
  result.output.resize(values);
  std::vector<float> lse(queries.num_query_heads);
  DP_CUDA(cudaMemcpy(result.output.data(), step_->output(), values * sizeof(float),
                     cudaMemcpyDeviceToHost));
  DP_CUDA(cudaMemcpy(lse.data(), step_->log_sum_exp(), lse.size() * sizeof(float),
                     cudaMemcpyDeviceToHost));
  result.log_sum_exp.assign(lse.begin(), lse.end());
  result.cost.resize(queries.num_query_heads);
  if (wanted == Audit::kSelection) audit(queries, result);
  return result;
}

IndexCost CudaDecoder::index_cost() const {
  if (!plan_.clustered) return {};
  const double per_head = clusters_ * (2.0 * view_.head_dim * bytes_of(dtype_) + 8 + 4) +
                          4.0 * static_cast<double>(tail_begin_ - sink_end_);
  return {view_.num_kv_heads * per_head, build_};
}

std::unique_ptr<Decoder> make_decoder(const PolicyInfo& policy, const Parameters& parameters,
                                      const PolicyContext& context, const GivenClusters* clusters) {
  return std::make_unique<CudaDecoder>(policy, parameters, context, clusters);
}

}  // namespace doublep::cuda
