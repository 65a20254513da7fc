#include "experiments/python/decoder_session.h"

#include <cmath>

#include "core/base/error.h"
#include "core/decoder/reference_decoder.h"
#include "core/trace/tensor.h"
#include "core/trace/trace_info.h"

namespace doublep::python {
namespace {

// Of a cache that cannot move, beyond the prompt.
constexpr std::int64_t kRoomOnGpu = 4096;

}  // namespace

Sweep request(const std::string& name, const Setting& setting) {
  if (setting.backend != "cpu" && setting.backend != "cuda" && setting.backend != "auto")
    fail_input(name, ": backend: expected cpu, cuda or auto, not '", setting.backend, "'");
  if (setting.seed < 0) fail_input(name, ": seed is ", setting.seed, ", expected at least 0");
  Sweep sweep;
  sweep.path = name, sweep.kv_dtype = parse_kv_dtype(setting.kv_dtype);
  const PolicyInfo& info = PolicyRegistry::instance().find(setting.policy);
  const Parameters parameters = resolve(info, setting.parameters);
  const std::string& variant = parameters.variant();
  sweep.runs.push_back({info.name, setting.backend, parameters,
                        variant.empty() ? info.name : info.name + " " + variant});
  sweep.runs[0].seed = static_cast<std::uint64_t>(setting.seed);
  return sweep;
}

DecoderSession::DecoderSession(const Setting& setting, const Options& options)
    : sweep_(request("Decoder", setting)), options_(options) {
  if (options.softmax_scale) check_scale(*options.softmax_scale, "Decoder: softmax_scale");
  if (options.layer < 0 || options.layer >= kMaxLayers)
    fail_input("Decoder: layer is ", options.layer, ", expected 0 to ", kMaxLayers - 1);
  if (options.capacity && *options.capacity < 1)
    fail_input("Decoder: capacity is ", *options.capacity, ", expected at least 1");
  make_ = decoder_factory(sweep_, sweep_.runs[0]);
  on_cpu_ =
      dynamic_cast<ReferenceDecoder*>(make_(static_cast<int>(options.layer)).get()) != nullptr;
}

double DecoderSession::scale(int head_dim) const {
  return options_.softmax_scale.value_or(1 / std::sqrt(static_cast<double>(head_dim)));
}

void DecoderSession::check_queries(const TensorIn& queries, int num_query_heads,
                                   const KvCacheView& cache) const {
  const std::vector<std::int64_t> shape(queries.shape.begin() + (3 - queries.dimensions),
                                        queries.shape.end());
  if (queries.shape[0] < 1 || queries.shape[1] < 1 || queries.shape[1] > kMaxHeads ||
      queries.shape[1] % cache.num_kv_heads != 0 || queries.shape[2] != cache.head_dim)
    fail_input(queries.name, " has the shape ", shape_text(shape),
               "; expected query heads in groups for ", cache.num_kv_heads, " KV heads, of ",
               cache.head_dim, " dimensions as the keys");
  if (num_query_heads > 0 && queries.shape[1] != num_query_heads)
    fail_input(queries.name, " has ", queries.shape[1], " query heads; the sequence had ",
               num_query_heads, " before");
}

void DecoderSession::prefill(const TensorIn& keys, const TensorIn& values,
                             const TensorIn* prefill_queries) {
  const std::lock_guard one_at_a_time(mutex_);
  const std::int64_t room = options_.capacity.value_or(on_cpu_ ? 0 : keys.shape[1] + kRoomOnGpu);
  GrowingCache cache(keys, values, {room, !on_cpu_});
  std::vector<float> converted;
  int num_query_heads = 0;
  if (prefill_queries) {
    const TensorIn& given = *prefill_queries;
    check_queries(given, 0, cache.view());
    if (given.shape[0] > keys.shape[1])
      fail_input(given.name, " are ", given.shape[0], " positions of a prompt of ", keys.shape[1],
                 " tokens; expected its last ones");
    num_query_heads = static_cast<int>(given.shape[1]);
    const std::int64_t row = given.shape[1] * given.shape[2];
    if (!given.lies_packed()) {
      converted.resize(static_cast<std::size_t>(given.size()));
      copy(given, converted.data(), row);
    }
    const float* floats = converted.empty() ? given.floats() : converted.data();
    check_values(given, floats, row);
    cache.attach({floats, given.shape[0], num_query_heads, cache.view().head_dim, row});
  }
  auto decoder = make_(static_cast<int>(options_.layer));
  decoder->prefill(cache.view());
  decoder_ = std::move(decoder), cache_ = std::move(cache);
  prefill_queries_ = std::move(converted);
  prefill_queries_memory_ = prefill_queries ? prefill_queries->memory : nullptr;
  num_query_heads_ = num_query_heads, steps_ = 0;
}

void DecoderSession::append(const TensorIn& keys, const TensorIn& values) {
  const std::lock_guard one_at_a_time(mutex_);
  require_prefill("append");
  cache_.append(keys, values);
  decoder_->append(cache_.view());
}

DecoderSession::Step DecoderSession::step(const TensorIn& queries, bool audit) {
  const std::lock_guard one_at_a_time(mutex_);
  require_prefill("step");
  check_queries(queries, num_query_heads_, cache_.view());
  const std::int64_t row = queries.shape[1] * queries.shape[2];
  std::vector<float> converted;
  if (!queries.lies_packed()) {
    converted.resize(static_cast<std::size_t>(row));
    copy(queries, converted.data(), row);
  }
  const float* floats = converted.empty() ? queries.floats() : converted.data();
  check_values(queries, floats, row);
  const int head_dim = cache_.view().head_dim;
  num_query_heads_ = static_cast<int>(queries.shape[1]);
  return {decoder_->step({floats, num_query_heads_, head_dim, scale(head_dim), steps_++},
                         audit || on_cpu_ ? Detail::kSelections : Detail::kOutput),
          cache_.view().length};
}

DecoderSession::State DecoderSession::state() const {
  const std::lock_guard one_at_a_time(mutex_);
  if (!decoder_) return {};
  return {cache_.view().length, cache_.in_place(), decoder_->index_cost()};
}

void DecoderSession::require_prefill(const char* call) const {
  if (!decoder_) fail_input("Decoder: ", call, " before prefill; prefill starts the sequence");
}

}  // namespace doublep::python
