#include "cuda/attend/bulk_kernel.cuh"
#include "cuda/common/dispatch.h"

namespace doublep::cuda {

void bulk_attend_fp16(const AttendParams& p, cudaStream_t stream, bool overlap) {
  for_head_dim(p.shape.head_dim, [&]<int kDim>(std::integral_constant<int, kDim>) {
    launch_bulk_attend<__half, kDim>(p, stream, overlap);
  });
}

}  // namespace doublep::cuda
