#include "cuda/attend/attend.h"
#include "cuda/attend/attend_kernel.cuh"

namespace doublep::cuda {

void attend(const AttendParams& p, cudaStream_t stream, bool overlap) {
  switch (p.dtype) {
    case DType::kFp32:
      return attend_fp32(p, stream, overlap);
    case DType::kFp16:
      return attend_fp16(p, stream, overlap);
    case DType::kBf16:
      return attend_bf16(p, stream, overlap);
  }
}

int attend_blocks(const AttendParams& p) {
  const int per_sm = p.dtype == DType::kFp32   ? attend_blocks_fp32(p)
                     : p.dtype == DType::kFp16 ? attend_blocks_fp16(p)
                                               : attend_blocks_bf16(p);
  int device = 0, sms = 0;
  DP_CUDA(cudaGetDevice(&device));
  DP_CUDA(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, device));
  return per_sm * sms;
}

std::size_t attend_workspace(const Shape& shape, int blocks) {
  return 2 * static_cast<std::size_t>(blocks) * attend_slot(shape);
}

}  // namespace doublep::cuda
