#include "cuda/decoder/cuda_decoder.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "cuda/decoder/convert.h"

namespace doublep::cuda {

CudaDecoder::CudaDecoder(const PolicyInfo& policy, const Parameters& parameters,
                         const PolicyContext& context, const GivenClusters* clusters)
    : policy_(policy.name), parameters_(parameters), context_(context) {
  // What is known before a cache is seen.
  plan_ = plan_for(policy_, parameters_, {1, 1, 128, context.kv_dtype});
  if (const std::string line = device_problem(); !line.empty()) throw InputError(line);
  dtype_ = device_type(context.kv_dtype);
  if (clusters) given_ = *clusters;
}

void CudaDecoder::prefill(const KvCacheView& cache) {
  DP_ASSERT(built_length_ == 0, "a decoder is prefilled once");
  view_ = cache;
  start();
}

void CudaDecoder::start() {
  const Request request{1, 1, view_.head_dim, context_.kv_dtype, view_.value_dim};
  if (const std::string line = refusal(policy_, parameters_, request); !line.empty())
    throw InputError(line);
  for (int h = 0; h < view_.num_kv_heads && plan_.clustered(); ++h) {
    metrics_.emplace_back(plan_.index.metric);
    KvHead prompt;  // its queries are all that a metric learns from
    prompt.prefill_queries = view_.prefill_queries.group(h, view_.num_kv_heads);
    metrics_.back().prefill(prompt);
  }
  place();
  build_ += plan_.paging_work(view_.length, view_.head_dim, context_.kv_dtype);
  if (plan_.by_error()) take_prompt();
  charged_ = build_;  // the first index is the prompt's cost
}

void CudaDecoder::take_prompt() {
  // Copied: where they come from they need not stay until the first step.
  const PrefillQueries& from = view_.prefill_queries;
  const std::int64_t row = static_cast<std::int64_t>(from.heads) * from.head_dim;
  for (std::int64_t i = 0; i < from.count; ++i)
    prompt_.insert(prompt_.end(), from.query(i, 0), from.query(i, 0) + row);
  const PrefillQueries kept{prompt_.data(), from.count, from.heads, from.head_dim, row};
  for (int h = 0; h < view_.num_kv_heads; ++h) {
    const KvHead prompt{nullptr,        nullptr,         view_.length,
                        view_.head_dim, view_.value_dim, kept.group(h, view_.num_kv_heads)};
    learners_.emplace_back(parameters_, context_.kv_dtype);
    learners_.back().prefill(prompt, zone(), clusters_);
  }
  build_ += learners_[0].cost();
}

void CudaDecoder::tell_factors() {
  if (learners_[0].wants_prompt()) {
    for (int pair = 0; pair < shape_.pairs; ++pair) host_index(pair);  // one after the other
    parallel_for(shape_.pairs, [&](std::int64_t h) {
      const auto pair = static_cast<int>(h);
      learn_on_host(plan_, host_head(pair), zone(), host_index(pair), shape_.group, softmax_scale_,
                    learners_[pair]);
    });
    for (const PromiseLearner& learner : learners_)
      factors_.push_back(learner.factors(shape_.group));
    forget_host();
    prompt_ = {};
  }
  for (int pair = 0; pair < shape_.pairs; ++pair)
    step_->set_factors(pair, {factors_[pair].data(), factors_[pair].data() + shape_.group});
}

void CudaDecoder::place() {
  const ExactZone zone = plan_.zone(view_.length);
  sink_end_ = zone.sink_end, tail_begin_ = zone.tail_begin, built_length_ = view_.length;
  if (!plan_.clustered()) return;
  parts_.clear(), clusters_ = 0;
  Warps warps;
  for (const MetricLearner& metric : metrics_) warps.push_back(metric.warp());
  add_part(sink_end_, tail_begin_, clustering_of(plan_.index, tail_begin_ - sink_end_, warps),
           warped_share(warps));
  if (plan_.ranked()) check_room(plan_, clusters_, ranked_room(plan_.rule()));
}

void CudaDecoder::rebuild() {
  if (on_device_ && cache_) {
    make_source();
    cache_->in_token_order(0, view_.length, source_.keys.get(), source_.values.get(), nullptr);
  }
  place();
  step_.reset(), index_.reset(), cache_.reset();
}

void CudaDecoder::add_part(std::int64_t begin, std::int64_t end,
                           const ItemIndex::Clustering& clustering, double warped) {
  if (begin == end) return;
  parts_.push_back({begin, end, clustering});
  if (given_ && parts_.size() == 1) {
    clusters_ = given_->clusters;
    return;
  }
  clusters_ += static_cast<int>(clusters_of(end - begin, clustering));
  build_ += clustering_work(end - begin, view_.head_dim, clustering, warped);
}

void CudaDecoder::append(const KvCacheView& grown) {
  DP_ASSERT(grown.length >= view_.length && grown.keys == view_.keys,
            "append continues the cache that prefill saw");
  const std::int64_t before = view_.length;
  view_ = grown;
  joined(before);
}

void CudaDecoder::joined(std::int64_t before) {
  build_ += plan_.paging_work(view_.length - before, view_.head_dim, context_.kv_dtype);
  bool seen = false;
  for (MetricLearner& metric : metrics_) seen |= metric.steps_seen();  // all of them, or none
  if (seen) return rebuild();
  const std::int64_t every = plan_.index.recluster_every;
  const bool due = every > 0 && view_.length - built_length_ >= every;
  if (due && !(plan_.index.grows && !parts_.empty())) return rebuild();
  if (!plan_.clustered()) place();
  if (step_ && !on_device_)
    load_tail(before);
  else if (step_ && !plan_.clustered()) {
    cache_->set_zones(0, static_cast<std::int32_t>(sink_end_),
                      static_cast<std::int32_t>(tail_begin_),
                      static_cast<std::int32_t>(view_.length));
    pack_tail();
  }
  if (due) grow();
  if (!step_ || !plan_.pages()) return;
  index_->extend_pages(*cache_, 0, plan_.step.page_size, static_cast<std::int32_t>(before),
                       nullptr);
  set_budgets(plan_, *cache_, index_.get(), 0, view_.length, items(), *step_);
}

/// The tokens before the window are clustered by themselves, as ClusteredCache::grow has it.
void CudaDecoder::grow() {
  const std::int64_t begin = tail_begin_, end = std::max(begin, view_.length - plan_.window);
  ItemIndex::Clustering clustering = plan_.index.clustering;
  // A fixed number of clusters means those of the first build; what joins gets its share.
  if (clustering.clusters > 0)
    clustering.clusters =
        std::max<std::int64_t>(1, clustering.clusters * (end - begin) / (begin - sink_end_));
  built_length_ = view_.length;
  if (begin == end) return;
  add_part(begin, end, clustering);
  tail_begin_ = end;
  if (!step_) return;
  index_->append_clusters(*cache_, 0, static_cast<std::int32_t>(end), clustering, nullptr);
  forget_host();
  make_step();  // the index may have moved
}

void CudaDecoder::make_source() {
  const std::int64_t bytes =
      view_.num_kv_heads * view_.capacity * view_.head_dim * bytes_of(dtype_);
  source_.keys.resize(bytes), source_.values.resize(bytes);
}

void CudaDecoder::forget_host() {
  host_indices_.clear(), host_order_.clear();
  host_rows_ = {};
}

void CudaDecoder::open(int num_query_heads, double softmax_scale) {
  const Request request{num_query_heads, view_.num_kv_heads, view_.head_dim, context_.kv_dtype};
  if (const std::string line = refusal(policy_, parameters_, request); !line.empty())
    throw InputError(line);
  shape_ = {view_.num_kv_heads, view_.num_kv_heads, num_query_heads / view_.num_kv_heads,
            view_.head_dim};
  softmax_scale_ = softmax_scale;
  cache_ = std::make_unique<Cache>(shape_, dtype_, view_.capacity);
  cache_->keep_packed(plan_.fp8);
  forget_host();
  if (plan_.clustered())
    load_clusters();
  else
    load_tail(0);
  if (plan_.pages()) {
    index_ = make_index(plan_, *cache_, plan_.items(view_.capacity));
    index_->extend_pages(*cache_, 0, plan_.step.page_size, 0, nullptr);
  }
  DP_CUDA(cudaDeviceSynchronize());
  source_ = {};
  make_step();
}

void CudaDecoder::make_step() {
  step_.reset();  // its buffers go before others come
  step_ = std::make_unique<DecodeStep>(*cache_, index_.get(),
                                       plan_.options(softmax_scale_, view_.capacity, zone()));
  set_budgets(plan_, *cache_, index_.get(), 0, view_.length, items(), *step_);
  if (plan_.by_error()) tell_factors();
}

std::int64_t CudaDecoder::items() const {
  return plan_.clustered() ? clusters_ : plan_.items(view_.length);
}

void CudaDecoder::load_clusters() {
  if (!on_device_) {
    const std::int64_t count = view_.num_kv_heads * view_.capacity * view_.head_dim;
    source_.keys.upload(to_device_type(view_.keys, count, dtype_));
    source_.values.upload(to_device_type(view_.values, count, dtype_));
  }
  index_ = make_index(plan_, *cache_, clusters_);
  const std::int64_t first_end = parts_.empty() ? sink_end_ : parts_[0].end;
  ItemIndex::Clustering options = parts_.empty() ? plan_.index.clustering : parts_[0].clustering;
  std::vector<std::int32_t> labels;
  if (given_) {
    for (const auto& head : given_->labels) labels.insert(labels.end(), head.begin(), head.end());
    DP_ASSERT(
        static_cast<std::int64_t>(labels.size()) == view_.num_kv_heads * (first_end - sink_end_),
        "a label per clustered token");
    options.labels = labels.data(), options.clusters = given_->clusters;
  }
  index_->build_clusters(*cache_, 0, source_.keys.get(), source_.values.get(), view_.capacity,
                         static_cast<std::int32_t>(sink_end_), static_cast<std::int32_t>(first_end),
                         static_cast<std::int32_t>(view_.length), options, nullptr);
  for (std::size_t i = 1; i < parts_.size(); ++i)
    index_->append_clusters(*cache_, 0, static_cast<std::int32_t>(parts_[i].end),
                            parts_[i].clustering, nullptr);
}

void CudaDecoder::load_tail(std::int64_t from) {
  const std::int64_t rows = view_.length - from, row_bytes = cache_->row_bytes();
  std::vector<std::int32_t> order(rows);
  for (std::int64_t i = 0; i < rows; ++i) order[i] = static_cast<std::int32_t>(from + i);
  for (int h = 0; h < view_.num_kv_heads && rows > 0; ++h) {
    const auto put = [&](void* base, const void* source) {
      DP_CUDA(cudaMemcpy(static_cast<char*>(base) + from * row_bytes, source, rows * row_bytes,
                         cudaMemcpyDefault));
    };
    if (on_device_) {
      const std::int64_t first = (h * view_.capacity + from) * row_bytes;
      put(cache_->keys(h), source_.keys.get() + first);
      put(cache_->values(h), source_.values.get() + first);
    } else {
      const KvHead head = view_.head(h);
      const std::int64_t values = rows * view_.head_dim;
      put(cache_->keys(h), to_device_type(head.key(from), values, dtype_).data());
      put(cache_->values(h), to_device_type(head.value(from), values, dtype_).data());
    }
    DP_CUDA(cudaMemcpy(cache_->order(h) + from, order.data(), rows * sizeof(std::int32_t),
                       cudaMemcpyHostToDevice));
  }
  cache_->set_zones(0, static_cast<std::int32_t>(sink_end_), static_cast<std::int32_t>(tail_begin_),
                    static_cast<std::int32_t>(view_.length));
  pack_tail();
}

void CudaDecoder::pack_tail() {
  if (plan_.fp8 && !plan_.clustered())
    cache_->pack_in_order(0, static_cast<std::int32_t>(view_.length), nullptr);
}

StepResult CudaDecoder::step(const QueryBlock& queries, Detail detail) {
  if (!step_) open(queries.num_query_heads, queries.softmax_scale);
  DP_ASSERT(queries.num_query_heads == shape_.pairs * shape_.group, "the shape of a decoder stays");
  const std::int64_t values = static_cast<std::int64_t>(queries.num_query_heads) * queries.head_dim;
  const auto bytes = to_device_type(queries.queries, values, dtype_);
  DP_CUDA(cudaMemcpy(step_->queries(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
  std::vector<float> output(values);
  StepResult result = attend(queries, detail, output.data());
  result.output = std::move(output);
  return result;
}

StepResult CudaDecoder::attend(const QueryBlock& queries, Detail detail, float* to) {
  for (int h = 0; h < static_cast<int>(metrics_.size()) && queries.queries; ++h)
    metrics_[h].observe(queries.group(h, shape_.pairs));
  step_->enqueue(nullptr);
  StepResult result;
  std::vector<float> lse(queries.num_query_heads);
  DP_CUDA(cudaMemcpyAsync(to, step_->output(), lse.size() * queries.head_dim * sizeof(float),
                          cudaMemcpyDefault, nullptr));
  DP_CUDA(cudaMemcpy(lse.data(), step_->log_sum_exp(), lse.size() * sizeof(float),
                     cudaMemcpyDeviceToHost));
  result.log_sum_exp.assign(lse.begin(), lse.end());
  result.cost.resize(queries.num_query_heads);
  charge_index(result);
  if (detail != Detail::kOutput) report(queries, detail, result);
  return result;
}

void CudaDecoder::charge_index(StepResult& result) {
  const double group = shape_.group;
  for (StepCost& cost : result.cost)
    cost[Stage::kIndex] +=
        Work{(build_.bytes - charged_.bytes) / group, (build_.flops - charged_.flops) / group};
  charged_ = build_;
}

IndexCost CudaDecoder::index_cost() const {
  const double heads = view_.num_kv_heads;
  IndexCost cost;
  cost.build = Work{heads * build_.bytes, heads * build_.flops};
  const std::int64_t tokens = plan_.clustered() ? tail_begin_ - sink_end_ : view_.length;
  cost.memory_bytes = heads * plan_.index_bytes(items(), tokens, view_.head_dim, context_.kv_dtype);
  return cost;
}

std::unique_ptr<Decoder> make_decoder(const PolicyInfo& policy, const Parameters& parameters,
                                      const PolicyContext& context, const GivenClusters* clusters) {
  return std::make_unique<CudaDecoder>(policy, parameters, context, clusters);
}

}  // namespace doublep::cuda
