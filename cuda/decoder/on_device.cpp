// Tokens and queries that lie on the device already.
#include <cmath>

#include "core/base/error.h"
#include "cuda/decoder/cuda_decoder.h"
#include "cuda/decoder/device_rows.h"

namespace doublep::cuda {

void CudaDecoder::prefill_on_device(const DeviceTensor& keys, const DeviceTensor& values,
                                    const DeviceTensor* queries, std::int64_t capacity) {
  DP_ASSERT(built_length_ == 0, "a decoder is prefilled once");
  DP_ASSERT(keys.shape[1] <= capacity, "there is room for the prompt");
  on_device_ = true;
  view_.num_kv_heads = static_cast<int>(keys.shape[0]);
  view_.length = keys.shape[1], view_.capacity = capacity;
  view_.head_dim = static_cast<int>(keys.shape[2]);
  view_.value_dim = static_cast<int>(values.shape[2]);
  std::vector<float> asked;
  if (queries) {
    asked = to_host(*queries);
    const auto heads = static_cast<int>(queries->shape[1]);
    view_.prefill_queries = {asked.data(), queries->shape[0], heads, view_.head_dim,
                             static_cast<std::int64_t>(heads) * view_.head_dim};
  }
  start();
  view_.prefill_queries = {};
  make_source();
  const auto take = [&](const DeviceTensor& from, DeviceBuffer<unsigned char>& to,
                        const char* what) {
    copy_rows(from, to.get(), capacity, 0);
    if (!rows_fit(to.get(), dtype_, view_.num_kv_heads, capacity, view_.length, view_.head_dim))
      fail_input("prefill: ", what,
                 " hold NaN, infinity or values beyond all that is recorded; look "
                 "for what made them");
  };
  take(keys, source_.keys, "keys");
  take(values, source_.values, "values");
}

void CudaDecoder::append_on_device(const DeviceTensor& keys, const DeviceTensor& values) {
  const std::int64_t before = view_.length;
  DP_ASSERT(on_device_ && before + keys.shape[1] <= view_.capacity,
            "append continues a cache on the device that has room");
  if (cache_) {
    const std::int64_t element = bytes_of(dtype_);
    const auto token = [&](const DeviceTensor& tensor, std::int64_t i) {
      return static_cast<const char*>(tensor.data) + i * tensor.strides[1] * element;
    };
    for (std::int64_t i = 0; i < keys.shape[1]; ++i)
      cache_->append(token(keys, i), token(values, i), nullptr, keys.strides[0] * element,
                     values.strides[0] * element);
  } else {
    copy_rows(keys, source_.keys.get(), view_.capacity, before);
    copy_rows(values, source_.values.get(), view_.capacity, before);
  }
  view_.length += keys.shape[1];
  joined(before);
}

StepResult CudaDecoder::step_on_device(const DeviceTensor& queries, double softmax_scale,
                                       float* output, Detail detail) {
  const auto heads = static_cast<int>(queries.shape[1]);
  if (!step_) open(heads, softmax_scale);
  DP_ASSERT(heads == shape_.pairs * shape_.group, "the shape of a decoder stays");
  copy_rows(queries, step_->queries(), heads, 0);
  std::vector<float> asked;  // what selections and metrics are computed from stays on the device
  if (detail == Detail::kSelections || plan_.index.metric.kind != MetricOptions::Kind::kEuclidean)
    asked = to_host(queries);
  std::vector<float> own(output ? 0 : static_cast<std::size_t>(heads) * shape_.head_dim);
  StepResult result =
      attend({asked.empty() ? nullptr : asked.data(), heads, shape_.head_dim, softmax_scale_, 0},
             detail, output ? output : own.data());
  result.output = std::move(own);
  for (std::size_t h = 0; h < result.log_sum_exp.size(); ++h)
    if (!std::isfinite(result.log_sum_exp[h]))
      fail_input("step: the logits of query head ", h,
                 " are not finite; look for NaN or infinity in "
                 "q, and in keys that joined");
  return result;
}

}  // namespace doublep::cuda
