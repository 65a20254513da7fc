#include "sim/decode/decode.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/base/error.h"

namespace doublep::sim {
namespace {

// Of what an index holds: as the cache, but 16 bits beside a packed one.
double index_scale(const DecodePoint& point) {
  return (point.kv.packed() ? Storage{} : point.kv).element_bytes() / bytes_of(KvDtype::kBf16);
}

// A model's width over a trace's: of keys, of values, of both.
struct Widths {
  double key, value, both;
  Widths(const Model& model, const Workload& workload)
      : key(static_cast<double>(model.key_dim()) / workload.head_dim()),
        value(static_cast<double>(model.value_dim()) / workload.head_dim()),
        both((key + value) / 2) {}
};

MemoryUse per_sequence(const Model& model, const Workload& workload, const DecodePoint& point) {
  MemoryUse use;
  const double heads =
      static_cast<double>(model.layers) * model.kv_heads_on_device(point.tensor_parallel);
  const double tokens = static_cast<double>(point.context) *
                        (point.place == KvPlace::kHost ? point.cache_share : 1.0);
  use.kv = heads * tokens * model.token_bytes(point.kv);
  use.index = heads * workload.index(point.context).memory_bytes * Widths(model, workload).both *
              index_scale(point);
  return use;
}

}  // namespace

MemoryUse memory_use(const Model& model, const Workload& workload, const DecodePoint& point) {
  MemoryUse use = per_sequence(model, workload, point);
  use.kv *= point.batch, use.index *= point.batch;
  use.weights = model.weight_bytes() / point.tensor_parallel;
  return use;
}

double sequence_bytes(const Model& model, const Workload& workload, const DecodePoint& point) {
  return per_sequence(model, workload, point).total();
}

int largest_batch(const Model& model, const Machine& machine, const Workload& workload,
                  const DecodePoint& point) {
  const double room = point.memory_share * machine.hardware.memory_capacity.value -
                      model.weight_bytes() / point.tensor_parallel;
  const double each = sequence_bytes(model, workload, point);
  if (room < each) return 0;
  return static_cast<int>(std::min(room / each, 1e6));
}

namespace {

class Parts {
 public:
  void add(const std::string& name, double seconds, Bound bound) {
    if (seconds == 0) return;
    auto part =
        std::find_if(parts_.begin(), parts_.end(), [&](const Part& p) { return p.name == name; });
    if (part == parts_.end()) {
      part = parts_.insert(part, Part{name, 0, bound});
      time_.emplace_back(kNumBounds, 0.0);
    }
    part->seconds += seconds;
    time_[part - parts_.begin()][static_cast<int>(bound)] += seconds;
  }
  void add(const std::string& name, const Timing& t) { add(name, t.seconds, t.bound); }

  void finish(DecodeCost& cost) {
    std::vector<double> all(kNumBounds, 0.0);
    const auto largest = [](const std::vector<double>& t) {
      return static_cast<Bound>(std::max_element(t.begin(), t.end()) - t.begin());
    };
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      parts_[i].bound = largest(time_[i]);
      cost.seconds += parts_[i].seconds;
      for (int b = 0; b < kNumBounds; ++b) all[b] += time_[i][b];
    }
    cost.bound = largest(all);
    cost.parts = std::move(parts_);
  }

 private:
  std::vector<Part> parts_;
  std::vector<std::vector<double>> time_;  // [part][bound]
};

// Query heads of a KV head: of a latent cache, which every device holds, the device's part.
int group_on_device(const Model& model, int degree) {
  return model.latent ? std::max(1, model.query_heads / degree) : model.group_size();
}

void add_attention(const Model& model, const Machine& machine, const Workload& workload,
                   const DecodePoint& point, Parts& parts, DecodeCost& cost) {
  const auto view = workload.view(point.context);
  const double token_bytes = model.token_bytes(point.kv);
  AttentionOptions options;
  options.balance = point.balance;
  options.group_size = group_on_device(model, point.tensor_parallel);
  options.token_bytes = token_bytes;
  options.search = workload.search();
  const HeadWork mean = workload.mean(point.context);
  options.dense = options.search != Search::kZone &&
                  mean.bytes[static_cast<int>(Stage::kEstimate)] <= 0 &&
                  mean.bytes[static_cast<int>(Stage::kSelect)] <= 0;
  const bool offloaded = point.place == KvPlace::kHost;
  cost.hit_rate = offloaded ? workload.hit_rate(point.cache_share) : 1;
  double tokens = 0, imbalance_sum = 0, count = 0;
  for (int layer = 0; layer < model.layers; ++layer) {
    const auto heads = layer_work(model, workload, view, point, layer);
    double exact = 0;
    for (const HeadWork& head : heads) {
      exact += head.tokens;
      for (double b : head.bytes) cost.bytes += b;
    }
    options.host_bytes = offloaded ? exact * token_bytes * (1 - cost.hit_rate) : 0;
    AttentionTiming t = attention_time(machine, heads, options);
    Timing& attend = t.stages[static_cast<int>(Stage::kAttend)];
    attend.seconds = std::max(0.0, attend.seconds + machine.efficiency.attention_offset);
    for (Stage stage : {Stage::kEstimate, Stage::kSelect, Stage::kAttend})
      parts.add(std::string(kStageNames[static_cast<int>(stage)]),
                t.stages[static_cast<int>(stage)]);
    cost.attention += t.seconds();
    imbalance_sum += t.imbalance, tokens += exact, count += static_cast<double>(heads.size());
  }
  cost.imbalance = imbalance_sum / model.layers;
  cost.exact_tokens = tokens / count;
}

}  // namespace

namespace {

// What attend reads of a cache that does not hold keys and values as a trace does: terms' mean
// values, then exact tokens, of a packed cache but sinks and window.
double stored_bytes(const Model& model, const Workload& workload, const DecodePoint& point,
                    const HeadWork& work) {
  const double plain_token = 2.0 * workload.head_dim() * bytes_of(KvDtype::kBf16);
  const double terms =
      std::max(0.0, work.bytes[static_cast<int>(Stage::kAttend)] - work.tokens * plain_token);
  const double zone = point.kv.packed() ? std::min(workload.zone(), work.tokens) : 0;
  return terms * Widths(model, workload).value * index_scale(point) +
         zone * model.token_bytes(Storage{}) + (work.tokens - zone) * model.token_bytes(point.kv);
}

}  // namespace

std::vector<HeadWork> layer_work(const Model& model, const Workload& workload,
                                 const Workload::View& view, const DecodePoint& point, int layer) {
  const int kv_heads = model.kv_heads_on_device(point.tensor_parallel);
  const Widths width(model, workload);
  const double index = index_scale(point);
  const double group =
      static_cast<double>(group_on_device(model, point.tensor_parallel)) / workload.group_size();
  std::vector<HeadWork> heads;
  heads.reserve(static_cast<std::size_t>(point.batch) * kv_heads);
  for (int sequence = 0; sequence < point.batch; ++sequence)
    for (int h = 0; h < kv_heads; ++h) {
      HeadWork work = view.at(layer, h, kv_heads, sequence);
      // Masses are float32 per query head; all other reads are vectors of the cache's type.
      const auto of = [](Stage stage) { return static_cast<int>(stage); };
      work.bytes[of(Stage::kSelect)] *= group;
      work.bytes[of(Stage::kEstimate)] *= width.key * index;
      work.flops[of(Stage::kSelect)] *= group * width.key;
      work.flops[of(Stage::kEstimate)] *= group * width.key;
      double& attend = work.bytes[of(Stage::kAttend)];
      attend = model.latent || point.kv.packed() ? stored_bytes(model, workload, point, work)
                                                 : attend * width.both * index;
      work.flops[of(Stage::kAttend)] *= group * width.both;
      heads.push_back(work);
    }
  return heads;
}

int small_kernels(const Model& model) {
  int each = kSmallKernels + 1;
  if (model.latent) each += model.latent->query_rank > 0 ? 2 : 1;
  const int routed = model.experts ? model.layers - model.experts->dense_layers : 0;
  return model.layers * each + 2 * routed + 1;
}

unsigned extrapolations(const Model& model, const Workload& workload, const DecodePoint& point,
                        const Coverage& coverage) {
  unsigned bits = 0;
  if (workload.extrapolates(point.context)) bits |= kTraceLength;
  if (model.group_size() != workload.group_size()) bits |= kGroupSize;
  if (model.key_dim() != workload.head_dim()) bits |= kHeadDim;
  if (point.kv.packed()) bits |= kCacheFormat;
  if (workload.single_keys()) bits |= kSearchKind;
  if (!coverage.calibrated) return bits | kMachine;
  if (point.context < coverage.context_low || point.context > coverage.context_high)
    bits |= kTimedContext;
  if (point.batch > coverage.batch_high) bits |= kTimedBatch;
  if (!coverage.products || model.experts || model.latent || model.weights.packed())
    bits |= kProducts;
  const double masses = workload.mean(point.context).bytes[static_cast<int>(Stage::kSelect)];
  if (masses > 0 && !coverage.searches[static_cast<int>(workload.search())]) bits |= kSearchKind;
  return bits;
}

std::string text_of(unsigned extrapolated) {
  constexpr std::array kNames = {"trace length",    "group size",    "head_dim",
                                 "machine",         "timed context", "timed batch",
                                 "matrix products", "kv_dtype",      "kind of search"};
  std::string all;
  for (std::size_t bit = 0; bit < kNames.size(); ++bit)
    if (extrapolated >> bit & 1) all += concat(all.empty() ? "" : ", ", kNames[bit]);
  return all;
}

DecodeCost decode_step(const Model& model, const Machine& machine, const Workload& workload,
                       const DecodePoint& point, const Coverage& coverage) {
  if (point.context <= 0 || point.batch <= 0) fail_input("context and batch must be at least 1");
  if (point.tensor_parallel < 1 || model.query_heads % point.tensor_parallel != 0)
    fail_input("tensor_parallel: ", point.tensor_parallel, " does not divide the ",
               model.query_heads, " query heads of ", model.name);
  DecodeCost cost;
  Parts parts;
  for (const Gemm& gemm : layer_gemms(model, point.tensor_parallel)) {
    Timing t = gemm_time(machine, gemm, point.batch);
    t.seconds *= gemm.layers;
    parts.add(is_projection(gemm) ? "projections" : "mlp", t);
  }
  parts.add("head", gemm_time(machine, head_gemm(model, point.tensor_parallel), point.batch));
  const double row =
      static_cast<double>(point.batch) * model.hidden * model.weights.activation_bytes();
  // Norms and the like read and write a few rows: their launches are what they cost.
  Timing small = kernel_time(machine, Access::kDense, 0, 0, "bf16");
  parts.add("small kernels",
            small_kernels(model) *
                (machine.small_kernel_latency() + 4 * row / machine.hardware.bandwidth()),
            small.bound);
  add_attention(model, machine, workload, point, parts, cost);
  Timing reduce = all_reduce_time(machine.hardware, row, point.tensor_parallel);
  parts.add("all-reduce", 2.0 * model.layers * reduce.seconds, Bound::kInterconnect);
  const double every =
      point.recluster_every < 0 ? workload.recluster_every() : point.recluster_every;
  if (every > 0)
    parts.add("re-clustering",
              point.batch * workload.recluster_share(point.context, every) / every *
                  build_seconds(model, machine, workload, point.context, point.tensor_parallel),
              Bound::kCompute);
  parts.finish(cost);
  const MemoryUse memory = memory_use(model, workload, point);
  cost.memory = memory.total();
  cost.fits = cost.memory <= point.memory_share * machine.hardware.memory_capacity.value;
  cost.extrapolated = extrapolations(model, workload, point, coverage);
  return cost;
}

double prefill_seconds(const Model& model, const Machine& machine, std::int64_t tokens,
                       int tensor_parallel) {
  const double n = static_cast<double>(tokens), degree = tensor_parallel;
  const double rate = machine.efficiency.prefill_share *
                      machine.hardware.flops(std::string(model.weights.compute()));
  const double products = 2 * n * model.active_parameters() / degree;
  // Causal: half of n^2 scores, and as many weighted values. Of a latent cache in its unfolded
  // form, which computes less for many queries at once.
  const double widths = model.latent ? model.latent->nope + model.latent->rope + model.latent->value
                                     : 2.0 * model.head_dim;
  const double attention = n * n * model.layers * model.query_heads * widths / degree;
  const double read = model.weight_bytes() / degree /
                      (machine.efficiency[Access::kGemm].share * machine.hardware.bandwidth());
  const Timing reduce = all_reduce_time(
      machine.hardware, n * static_cast<double>(model.hidden) * model.weights.activation_bytes(),
      tensor_parallel);
  return std::max((products + attention) / rate, read) + 2 * model.layers * reduce.seconds;
}

double build_seconds(const Model& model, const Machine& machine, const Workload& workload,
                     std::int64_t context, int tensor_parallel) {
  const Work build = workload.index(context).build;
  const double heads =
      static_cast<double>(model.layers) * model.kv_heads_on_device(tensor_parallel);
  const double width = Widths(model, workload).both;
  const double compute =
      build.flops * width / (machine.efficiency.build_share * machine.hardware.flops("bf16"));
  const double memory = build.bytes * width / machine.hardware.bandwidth();
  return heads * std::max(compute, memory);
}

}  // namespace doublep::sim
