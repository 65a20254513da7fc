#include <algorithm>

#include "cuda/attend/attend.h"
#include "cuda/attend/attend_kernel.cuh"

namespace doublep::cuda {

void bulk_attend_fp16(const AttendParams& p, cudaStream_t stream, bool overlap);
void bulk_attend_bf16(const AttendParams& p, cudaStream_t stream, bool overlap);
void bulk_attend_fp8(const AttendParams& p, cudaStream_t stream, bool overlap);

namespace {

int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  DP_CUDA(cudaGetDevice(&device));
  DP_CUDA(cudaDeviceGetAttribute(&value, which, device));
  return value;
}

bool by_bulk_copies(const AttendParams& p) {
  return p.kind == WorkKind::kDense && p.dtype != DType::kFp32 && !p.registers &&
         attribute(cudaDevAttrComputeCapabilityMajor) >= 9;
}

}  // namespace

void attend(const AttendParams& p, cudaStream_t stream, bool overlap) {
  const bool bulk = by_bulk_copies(p);
  if (p.packed.keys) return (bulk ? bulk_attend_fp8 : attend_fp8)(p, stream, overlap);
  switch (p.dtype) {
    case DType::kFp32:
      return attend_fp32(p, stream, overlap);
    case DType::kFp16:
      return (bulk ? bulk_attend_fp16 : attend_fp16)(p, stream, overlap);
    case DType::kBf16:
      return (bulk ? bulk_attend_bf16 : attend_bf16)(p, stream, overlap);
  }
}

int attend_blocks(const AttendParams& p) {
  const int per_sm = by_bulk_copies(p)         ? 1
                     : p.packed.keys           ? attend_blocks_fp8(p)
                     : p.dtype == DType::kFp32 ? attend_blocks_fp32(p)
                     : p.dtype == DType::kFp16 ? attend_blocks_fp16(p)
                                               : attend_blocks_bf16(p);
  return per_sm * attribute(cudaDevAttrMultiProcessorCount);
}

std::size_t attend_workspace(const AttendParams& p) {
  return 2 * static_cast<std::size_t>(p.blocks) * attend_slot(p.shape);
}

}  // namespace doublep::cuda
