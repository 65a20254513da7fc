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

void check_positions(const TensorIn& queries, std::int64_t tokens) {
  if (queries.shape[0] > tokens)
    fail_input(queries.name, " are ", queries.shape[0], " positions of a prompt of ", tokens,
               " tokens; expected its last ones");
}

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
      dynamic_cast<ReferenceDecoder*>(make_(static_cast<int>(options.layer), 0).get()) != nullptr;
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
  for (const TensorIn* tensor : {&values, prefill_queries})
    if (tensor) require_place(*tensor, keys.on_gpu);
  if (keys.on_gpu) return prefill_on_gpu(keys, values, prefill_queries);
  const std::int64_t room = options_.capacity.value_or(on_cpu_ ? 0 : keys.shape[1] + kRoomOnGpu);
  GrowingCache cache(keys, values, {room, !on_cpu_});
  std::vector<float> converted;
  int num_query_heads = 0;
  if (prefill_queries) {
    const TensorIn& given = *prefill_queries;
    check_queries(given, 0, cache.view());
    check_positions(given, keys.shape[1]);
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
  auto decoder = make_(static_cast<int>(options_.layer), 0);
  decoder->prefill(cache.view());
  decoder_ = std::move(decoder), cache_ = std::move(cache), device_ = nullptr;
  prefill_queries_ = std::move(converted);
  prefill_queries_memory_ = prefill_queries ? prefill_queries->memory : nullptr;
  num_query_heads_ = num_query_heads, steps_ = 0;
}

void DecoderSession::prefill_on_gpu(const TensorIn& keys, const TensorIn& values,
                                    const TensorIn* prefill_queries) {
  check_shapes(keys, values);
  KvCacheView shape;
  shape.num_kv_heads = static_cast<int>(keys.shape[0]), shape.length = keys.shape[1];
  shape.head_dim = static_cast<int>(keys.shape[2]);
  shape.value_dim = static_cast<int>(values.shape[2]);
  shape.capacity = options_.capacity.value_or(shape.length + kRoomOnGpu);
  require_room(keys, shape.length, shape.capacity);
  std::optional<DeviceTensor> asked;
  if (prefill_queries) {
    check_queries(*prefill_queries, 0, shape);
    check_positions(*prefill_queries, shape.length);
    asked = on_gpu(*prefill_queries);
  }
  auto decoder = make_(static_cast<int>(options_.layer), 0);
  auto* device = dynamic_cast<DeviceDecoder*>(decoder.get());
  if (!device)
    fail_input(keys.name,
               " lies on a GPU, and the decoder runs on the CPU; give it backend=\"cuda\", "
               "or copy the tensors (tensor.cpu())");
  device->prefill_on_device(on_gpu(keys), on_gpu(values), asked ? &*asked : nullptr,
                            shape.capacity);
  decoder_ = std::move(decoder), cache_ = {}, device_ = device, shape_ = shape;
  prefill_queries_.clear(), prefill_queries_memory_ = nullptr;
  num_query_heads_ = asked ? static_cast<int>(asked->shape[1]) : 0, steps_ = 0;
}

DeviceTensor DecoderSession::on_gpu(const TensorIn& tensor) const {
  const KvDtype type = tensor.type == TensorIn::Type::kFloat32   ? KvDtype::kFp32
                       : tensor.type == TensorIn::Type::kFloat16 ? KvDtype::kFp16
                                                                 : KvDtype::kBf16;
  const KvDtype wanted = plain_dtype(sweep_.kv_dtype);
  if (type != wanted)
    fail_input(tensor.name, " holds ", name_of(type), "; the decoder's kv_dtype is ",
               name_of(sweep_.kv_dtype), ", which on a GPU takes ", name_of(wanted));
  const std::int64_t element = bytes_of(type);
  const bool packed = tensor.shape[2] == 1 || tensor.strides[2] == 1;
  const auto in_words = [](std::int64_t bytes) { return bytes % 4 == 0; };
  if (!packed || !in_words(reinterpret_cast<std::intptr_t>(tensor.data)) ||
      !in_words(tensor.strides[0] * element) || !in_words(tensor.strides[1] * element))
    fail_input(tensor.name,
               ": expected rows that lie packed and begin at multiples of 4 bytes; make "
               "it so (tensor.contiguous())");
  return {tensor.data, type, tensor.shape, {tensor.strides[0], tensor.strides[1]}};
}

void DecoderSession::require_place(const TensorIn& tensor, bool gpu) const {
  if (tensor.on_gpu != gpu)
    fail_input(tensor.name, " lies ", tensor.on_gpu ? "on a GPU" : "in the host's memory",
               ", and the keys of the prompt ", gpu ? "on a GPU" : "in the host's memory",
               "; expected both in one place");
}

void DecoderSession::append(const TensorIn& keys, const TensorIn& values) {
  const std::lock_guard one_at_a_time(mutex_);
  require_prefill("append");
  for (const TensorIn* tensor : {&keys, &values}) require_place(*tensor, device_ != nullptr);
  if (device_) {
    check_joining(keys, values, shape_);
    require_room(keys, shape_.length + keys.shape[1], shape_.capacity);
    device_->append_on_device(on_gpu(keys), on_gpu(values));
    shape_.length += keys.shape[1];
    return;
  }
  cache_.append(keys, values);
  decoder_->append(cache_.view());
}

DecoderSession::Step DecoderSession::step(const TensorIn& queries, Detail detail,
                                          const Output* output) {
  const std::lock_guard one_at_a_time(mutex_);
  require_prefill("step");
  require_place(queries, device_ != nullptr);
  check_queries(queries, num_query_heads_, view());
  if (output && !device_)
    fail_input("step: out lies on a GPU, and the cache in the host's memory; leave it out");
  if (output && (output->heads != queries.shape[1] || output->value_dim != view().value_dim))
    fail_input("step: out has the shape ", shape_text({output->heads, output->value_dim}),
               "; expected ", shape_text({queries.shape[1], view().value_dim}));
  const int head_dim = view().head_dim;
  if (device_) {
    Step step{device_->step_on_device(on_gpu(queries), scale(head_dim),
                                      output ? output->data : nullptr, detail),
              shape_.length};
    num_query_heads_ = static_cast<int>(queries.shape[1]);
    return step;
  }
  const std::int64_t row = queries.shape[1] * queries.shape[2];
  std::vector<float> converted;
  if (!queries.lies_packed()) {
    converted.resize(static_cast<std::size_t>(row));
    copy(queries, converted.data(), row);
  }
  const float* floats = converted.empty() ? queries.floats() : converted.data();
  check_values(queries, floats, row);
  num_query_heads_ = static_cast<int>(queries.shape[1]);
  return {decoder_->step({floats, num_query_heads_, head_dim, scale(head_dim), steps_++}, detail),
          cache_.view().length};
}

DecoderSession::State DecoderSession::state() const {
  const std::lock_guard one_at_a_time(mutex_);
  if (!decoder_) return {};
  return {view().length, !device_ && cache_.in_place(), device_ != nullptr, decoder_->index_cost()};
}

void DecoderSession::require_prefill(const char* call) const {
  if (!decoder_) fail_input("Decoder: ", call, " before prefill; prefill starts the sequence");
}

}  // namespace doublep::python
