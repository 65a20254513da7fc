#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "core/base/half.h"
#include "core/trace/tensor.h"
#include "cuda/common/runtime.h"
#include "cuda/common/launch.h"
#include "cuda/decoder/device_rows.h"

namespace doublep::cuda {
namespace {

const char* at(const DeviceTensor& tensor, std::int64_t element) {
  return static_cast<const char*>(tensor.data) + element * doublep::bytes_of(tensor.dtype);
}

/// blockIdx.y: the head.
template <class T>
__global__ void find_unfit_kernel(const T* values, std::int64_t capacity, std::int64_t rows,
                                  int dim, int* unfit) {
  const T* head = values + blockIdx.y * capacity * dim;
  bool bad = false;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = blockIdx.x * static_cast<std::int64_t>(blockDim.x) + threadIdx.x;
       i < rows * dim; i += step)
    bad |= !(fabsf(static_cast<float>(head[i])) <= static_cast<float>(kLargestValue));
  if (__syncthreads_or(bad) && threadIdx.x == 0) atomicOr(unfit, 1);
}

}  // namespace

void copy_rows(const DeviceTensor& from, void* to, std::int64_t capacity, std::int64_t first) {
  const std::int64_t row = from.shape[2] * doublep::bytes_of(from.dtype);
  const std::int64_t pitch = from.strides[1] * doublep::bytes_of(from.dtype);
  for (std::int64_t h = 0; h < from.shape[0] && from.shape[1] > 0; ++h)
    DP_CUDA(cudaMemcpy2DAsync(static_cast<char*>(to) + (h * capacity + first) * row, row,
                              at(from, h * from.strides[0]), from.shape[1] > 1 ? pitch : row, row,
                              from.shape[1], cudaMemcpyDeviceToDevice, nullptr));
}

std::vector<float> to_host(const DeviceTensor& from) {
  const auto [outer, inner, dim] = from.shape;
  const std::int64_t row = dim * doublep::bytes_of(from.dtype);
  std::vector<unsigned char> bytes(outer * inner * row);
  // One copy takes rows at one distance: along the longer of the two dimensions.
  const bool along_inner = inner >= outer;
  const std::int64_t copies = along_inner ? outer : inner, rows = along_inner ? inner : outer;
  const std::int64_t pitch =
      rows > 1 ? from.strides[along_inner ? 1 : 0] * doublep::bytes_of(from.dtype) : row;
  for (std::int64_t i = 0; i < copies; ++i)
    DP_CUDA(cudaMemcpy2D(
        bytes.data() + i * (along_inner ? inner * row : row), along_inner ? row : inner * row,
        at(from, i * from.strides[along_inner ? 0 : 1]), pitch, row, rows, cudaMemcpyDeviceToHost));
  std::vector<float> floats(outer * inner * dim);
  const auto* half = reinterpret_cast<const std::uint16_t*>(bytes.data());
  for (std::size_t i = 0; i < floats.size(); ++i)
    floats[i] = from.dtype == KvDtype::kFp32   ? reinterpret_cast<const float*>(bytes.data())[i]
                : from.dtype == KvDtype::kFp16 ? half_to_float(half[i])
                                               : bfloat16_to_float(half[i]);
  return floats;
}

bool rows_fit(const void* values, DType type, int heads, std::int64_t capacity, std::int64_t rows,
              int dim) {
  DeviceBuffer<int> unfit(1);
  unfit.zero();
  const auto blocks =
      static_cast<unsigned>(std::min<std::int64_t>((rows * dim + 1023) / 1024, 256));
  const auto look = [&](auto element) {
    using T = decltype(element);
    launch({dim3(blocks, heads), dim3(256)}, find_unfit_kernel<T>, static_cast<const T*>(values),
           capacity, rows, dim, unfit.get());
  };
  if (type == DType::kFp32)
    look(float{});
  else if (type == DType::kFp16)
    look(__half{});
  else
    look(__nv_bfloat16{});
  return unfit.download()[0] == 0;
}

}  // namespace doublep::cuda
