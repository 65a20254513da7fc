#include "experiments/bench/subject.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <utility>

#include "core/base/error.h"
#include "core/base/text.h"

namespace doublep::bench {
namespace {

cuda::Shape shape_of(const RecordedHeads& h, int batch) {
  return {batch * h.kv_heads(), h.kv_heads(), h.group(), h.head_dim()};
}
constexpr double kTogetherBytes = 5ll << 30;  // of sequences whose clusters are made at once

double row_bytes(const RecordedHeads& h) { return 2.0 * h.head_dim(); }

template <class Build>
double milliseconds(const Build& build) {
  DP_CUDA(cudaDeviceSynchronize());
  const auto begin = std::chrono::steady_clock::now();
  build();
  DP_CUDA(cudaDeviceSynchronize());
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

}  // namespace

double Reads::bytes() const { return cost[Stage::kEstimate].bytes + cost[Stage::kAttend].bytes; }

void Reads::add(const Reads& other, double weight) {
  for (int s = 0; s < kNumStages; ++s)
    cost.stages[s] +=
        Work{weight * other.cost.stages[s].bytes, weight * other.cost.stages[s].flops};
  for (double Reads::*member : {&Reads::late_estimate_bytes, &Reads::select_items,
                                &Reads::exact_share, &Reads::union_share, &Reads::terms_share})
    this->*member += weight * other.*member;
}

Subject::Subject(const RecordedHeads& heads, std::vector<std::int64_t> contexts, int place)
    : heads_(heads),
      contexts_(std::move(contexts)),
      longest_(static_cast<int>(std::max_element(contexts_.begin(), contexts_.end()) -
                                contexts_.begin())),
      place_(place),
      cache_(shape_of(heads, batch()), cuda::DType::kBf16, contexts_[longest_]) {}

int Subject::looked() const {
  const bool alike = std::count(contexts_.begin(), contexts_.end(), contexts_[0]) == batch();
  return alike ? std::min(batch(), kLooked) : batch();
}

void Subject::prepare(const Setting& setting, cuda::Cache* source, const Launch& launch,
                      bool together) {
  step_.reset();
  plan_ = setting.plan, dtype_ = setting.dtype();
  if (const std::string key = index_key(plan_); key != held_) {
    index_.reset();
    held_.clear(), build_ms_ = layer_build_ms_ = 0;
    cache_.keep_packed(false), cache_.keep_packed(plan_.fp8);
    std::int64_t items = 0;
    for (const std::int64_t context : contexts_) items = std::max(items, plan_.items(context));
    index_ = cuda::make_index(plan_, cache_, items);
    if (plan_.clustered())
      cluster(*source, together);
    else
      page();
    held_ = key, in_token_order_ = !plan_.clustered();
  }
  cuda::StepOptions options = plan_.options(heads_.scale(), contexts_[longest_], zone(longest_));
  options.overlap = launch.overlap;
  options.estimate_path = launch.estimate_path;
  options.attend_warps = launch.warps, options.attend_registers = launch.registers;
  options.select_team = launch.select_team, options.select_threads = launch.select_threads;
  step_ = std::make_unique<cuda::DecodeStep>(cache_, index_.get(), options);
  for (int b = 0; b < batch(); ++b)
    cuda::set_budgets(plan_, cache_, index_.get(), b, contexts_[b], plan_.items(contexts_[b]),
                      *step_);
  if (plan_.by_error()) tell_factors(setting);
  set_queries(place_ * 5);
  poison();
}

void Subject::set_queries(int step) {
  std::vector<std::uint16_t> queries;
  for (int b = 0; b < batch(); ++b) {
    const auto mine = heads_.queries(b + place_, step, recorded(0));
    queries.insert(queries.end(), mine.begin(), mine.end());
  }
  DP_CUDA(cudaMemcpy(step_->queries(), queries.data(), queries.size() * sizeof(std::uint16_t),
                     cudaMemcpyHostToDevice));
}

void Subject::fill(cuda::Cache& cache, int sequence_of_cache, int sequence) {
  for (int h = 0; h < heads_.kv_heads(); ++h) {
    const std::int64_t pair = static_cast<std::int64_t>(sequence_of_cache) * heads_.kv_heads() + h;
    const std::int64_t context = contexts_[sequence];
    heads_.fill(true, sequence + place_, recorded(h), context, cache.keys(pair), nullptr);
    heads_.fill(false, sequence + place_, recorded(h), context, cache.values(pair), nullptr);
  }
}

void Subject::page() {
  for (int b = 0; b < batch(); ++b) {
    if (!in_token_order_) fill(cache_, b, b);
    cache_.set_zones(b, static_cast<std::int32_t>(zone(b).sink_end),
                     static_cast<std::int32_t>(zone(b).tail_begin),
                     static_cast<std::int32_t>(contexts_[b]));
    if (plan_.fp8) cache_.pack_in_order(b, static_cast<std::int32_t>(contexts_[b]), nullptr);
  }
  if (!plan_.pages()) return;
  layer_build_ms_ = milliseconds([&] {
    for (int b = 0; b < batch(); ++b)
      index_->extend_pages(cache_, b, plan_.step.page_size, 0, nullptr);
  });
  build_ms_ = layer_build_ms_ / batch();
}

void Subject::cluster(cuda::Cache& source, bool together) {
  in_token_order_ = false;
  warps_.clear();
  for (int h = 0; h < heads_.kv_heads(); ++h) {
    MetricLearner metric(plan_.index.metric);
    metric.prefill(
        {.head_dim = heads_.head_dim(), .prefill_queries = heads_.prefill_queries(recorded(h))});
    warps_.push_back(metric.warp());
  }
  std::map<std::int64_t, cuda::ItemIndex::Clustering> clusterings;
  for (int b = 0; b < batch(); ++b)
    if (clusterings.count(contexts_[b]) == 0)
      clusterings[contexts_[b]] =
          cuda::clustering_of(plan_.index, zone(b).tail_begin - zone(b).sink_end, warps_);
  const auto build = [&](cuda::Cache& from, int first, int count) {
    return milliseconds([&] {
      index_->build_clusters(cache_, first, from.keys(), from.values(), from.capacity(),
                             static_cast<std::int32_t>(zone(first).sink_end),
                             static_cast<std::int32_t>(zone(first).tail_begin),
                             static_cast<std::int32_t>(contexts_[first]),
                             clusterings[contexts_[first]], nullptr, count);
    });
  };
  std::map<std::int64_t, double> alone;  // of a length
  for (int b = 0; b < batch(); ++b) {
    if (alone.count(contexts_[b]) > 0) continue;
    fill(source, 0, b);
    build(source, b, 1);  // the first one also allocates
    alone[contexts_[b]] = build(source, b, 1);
  }
  for (const std::int64_t context : contexts_) build_ms_ += alone[context] / batch();
  for (int first = 0, count = 0; first < batch(); first += count) {
    const double each = source_bytes(heads_, contexts_[first]);
    const int most = together ? std::max(1, static_cast<int>(kTogetherBytes / each)) : 1;
    count = 1;
    while (count < most && first + count < batch() && contexts_[first + count] == contexts_[first])
      ++count;
    if (count == 1) {
      fill(source, 0, first);
      layer_build_ms_ += build(source, first, 1);
      continue;
    }
    cuda::Cache rows(shape_of(heads_, count), cuda::DType::kBf16, contexts_[first]);
    for (int b = 0; b < count; ++b) fill(rows, b, first + b);
    build(rows, first, count);  // allocates
    layer_build_ms_ += build(rows, first, count);
  }
}

Work Subject::build_work() const {
  const double heads = heads_.kv_heads();
  Work mean;
  for (int b = 0; b < batch(); ++b) {
    const Work one =
        plan_.clustered()
            ? cuda::clustering_work(zone(b).tail_begin - zone(b).sink_end, heads_.head_dim(),
                                    plan_.index.clustering, cuda::warped_share(warps_))
            : plan_.paging_work(contexts_[b], heads_.head_dim(), dtype_);
    mean += Work{heads * one.bytes / batch(), heads * one.flops / batch()};
  }
  return mean;
}

void Subject::poison() {
  const std::size_t floats =
      static_cast<std::size_t>(cache_.shape().pairs) * heads_.group() * heads_.head_dim();
  DP_CUDA(cudaMemset(const_cast<float*>(step_->output()), 0xFF, floats * sizeof(float)));
  DP_CUDA(cudaDeviceSynchronize());  // streams of other kinds do not wait for this one
}

std::vector<float> Subject::output(int sequences) const {
  std::vector<float> host(static_cast<std::size_t>(sequences > 0 ? sequences : looked()) *
                          heads_.kv_heads() * heads_.group() * heads_.head_dim());
  DP_CUDA(cudaMemcpy(host.data(), step_->output(), host.size() * sizeof(float),
                     cudaMemcpyDeviceToHost));
  return host;
}

Reads Subject::reads() const {
  const int pairs = heads_.kv_heads() * looked(), d = heads_.head_dim();
  const double group = heads_.group(), whole = static_cast<double>(batch()) / looked();
  double all = 0;
  for (int b = 0; b < looked(); ++b) all += static_cast<double>(contexts_[b] * heads_.kv_heads());
  Reads reads;
  for (int pair = 0; pair < pairs; ++pair) {
    const int b = pair / heads_.kv_heads();
    const cuda::Touched t = cuda::touched_by(plan_, step_->work(pair), heads_.group(), zone(b),
                                             plan_.items(contexts_[b]));
    GroupSelection counted(heads_.group());
    cuda::charge_step(plan_, t, d, dtype_, counted);
    for (const StepCost& head : counted.cost)
      for (int s = 0; s < kNumStages; ++s)
        reads.cost.stages[s] += Work{whole * head.stages[s].bytes, whole * head.stages[s].flops};
    reads.late_estimate_bytes +=
        whole * t.candidates * cost::quantised_key_bytes(d, cuda::kQuantisedBits);
    reads.select_items += (plan_.twilight() ? t.candidates : t.items) / pairs;
    for (const auto& head : t.heads) reads.exact_share += head.tokens / (all * group);
    reads.union_share += t.tokens / all;
    if (t.items > 0) reads.terms_share += t.terms / (t.items * pairs);
  }
  return reads;
}

double Subject::bytes(const RecordedHeads& h, const std::vector<Setting>& settings,
                      std::int64_t context, int batch) {
  const double heads = h.kv_heads(), pairs = heads * batch, n = static_cast<double>(context),
               row = row_bytes(h);
  const double cache = pairs * n * (2 * row + sizeof(std::int32_t));
  double most = 0;
  for (const Setting& setting : settings) {
    const cuda::Plan& plan = setting.plan;
    const double items =
        plan.index.items == cuda::IndexPlan::Items::kNone ? 0 : 16.0 + plan.items(context);
    double bytes = items * pairs * (2 * row + sizeof(cuda::ClusterMeta) + sizeof(std::int32_t));
    // The step's lists: masses and codes of every query head, of the group, runs and terms.
    bytes +=
        pairs * (h.group() * items * 5 + items * 8 + (n / cuda::kTile + items) * sizeof(cuda::Run));
    if (plan.clustered())  // labels and tokens, twice each, the sort's own space, moving centroids
      bytes += heads * (n * (16 + 16) + items * (row + 8));
    if (plan.fp8) bytes += pairs * n * (row + sizeof(float2));  // a key and a value of a byte each
    if (plan.twilight()) bytes += pairs * n * (row / 4 + 8 + h.group() * 5 + 8);
    most = std::max(most, bytes);
  }
  return cache + most + (16 << 20);  // partial results and what allocations are rounded up to
}

double Subject::source_bytes(const RecordedHeads& h, std::int64_t context) {
  return static_cast<double>(context) * h.kv_heads() * (2 * row_bytes(h) + sizeof(std::int32_t));
}

std::unique_ptr<cuda::Cache> Subject::make_source(const RecordedHeads& h, std::int64_t context) {
  return std::make_unique<cuda::Cache>(shape_of(h, 1), cuda::DType::kBf16, context);
}

std::vector<double> relative_errors(const std::vector<float>& output,
                                    const std::vector<float>& dense, int head_dim) {
  DP_ASSERT(output.size() == dense.size(), "outputs of one shape");
  std::vector<double> errors;
  for (std::size_t at = 0; at + head_dim <= output.size(); at += head_dim) {
    double difference = 0, norm = 0;
    for (std::size_t i = at; i < at + head_dim; ++i) {
      const double d = static_cast<double>(output[i]) - dense[i];
      difference += d * d, norm += static_cast<double>(dense[i]) * dense[i];
    }
    errors.push_back(std::sqrt(difference / norm));
  }
  return errors;
}

void write_subject(const Setting& setting, const Reads& reads, const Work& build, double build_ms,
                   std::ostream& out) {
  const PolicyTraits& traits = setting.policy->traits;
  out << "\"label\": " << json_text(setting.label)
      << ", \"policy\": " << json_text(setting.policy->name)
      << ", \"parameters\": " << setting.parameters.to_json()
      << ", \"kv_dtype\": " << json_text(name_of(setting.dtype()))
      << ", \"search\": " << json_text(name_of(traits.search)) << ", \"ranks_groups\": "
      << (setting.policy->ranks_groups(setting.parameters) ? "true" : "false")
      << ", \"dense\": " << (traits.dense ? "true" : "false")
      << ", \"select_items\": " << reads.select_items << ", \"bytes\": " << reads.bytes();
  for (const Stage stage : {Stage::kEstimate, Stage::kSelect, Stage::kAttend})
    out << ", \"" << kStageNames[static_cast<int>(stage)] << "_bytes\": " << reads.cost[stage].bytes
        << ", \"" << kStageNames[static_cast<int>(stage)]
        << "_flops\": " << reads.cost[stage].flops;
  out << ", \"late_estimate_bytes\": " << reads.late_estimate_bytes
      << ", \"exact_share\": " << reads.exact_share << ", \"union_share\": " << reads.union_share
      << ", \"terms_share\": " << reads.terms_share << ", \"build_ms\": " << build_ms
      << ", \"build_flops\": " << build.flops << ", \"build_bytes\": " << build.bytes;
}

}  // namespace doublep::bench
