#include "cuda/attend/attend_kernel.cuh"
#include "cuda/common/dispatch.h"

namespace doublep::cuda {

void attend_fp16(const AttendParams& p, cudaStream_t stream, bool overlap) {
  for_head_dim(p.shape.head_dim, [&]<int kDim>(std::integral_constant<int, kDim>) {
    launch_attend<MmaEngine<__half, kDim>>(p, stream, overlap);
  });
}
int attend_blocks_fp16(const AttendParams& p) {
  return for_head_dim(p.shape.head_dim, [&]<int kDim>(std::integral_constant<int, kDim>) {
    return resident_attend_blocks<MmaEngine<__half, kDim>>(p);
  });
}

}  // namespace doublep::cuda
