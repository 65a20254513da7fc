// Launches with programmatic dependency: a kernel may start its prologue while the one before it
// drains, and waits (dependency_wait) before it touches what that one wrote. On chips before
// sm_90 both calls are empty and the attribute is not set.
#pragma once

#include <cuda_runtime.h>

#include "cuda/common/runtime.h"

namespace doublep::cuda {

__device__ inline void dependency_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}
__device__ inline void dependency_release() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

struct LaunchConfig {
  dim3 grid, block;
  std::size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
  bool overlap = false;  ///< programmatic dependent launch; sm_90 and later only
  /// Neighbouring blocks (of grid.x, which it divides) that see each other's shared memory; more
  /// than one on sm_90 and later only.
  unsigned cluster = 1;
};

template <class Kernel, class... Args>
void launch(const LaunchConfig& config, Kernel kernel, const Args&... args) {
  if (config.grid.x == 0 || config.grid.y == 0) return;
  if (config.shared_bytes > 0)  // static shared memory counts towards the default limit too
    DP_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(config.shared_bytes)));
  cudaLaunchConfig_t launch_config{};
  launch_config.gridDim = config.grid, launch_config.blockDim = config.block;
  launch_config.dynamicSmemBytes = config.shared_bytes, launch_config.stream = config.stream;
  cudaLaunchAttribute attributes[2]{};
  launch_config.attrs = attributes;
  if (config.overlap) {
    auto& attribute = attributes[launch_config.numAttrs++];
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
  }
  if (config.cluster > 1) {
    auto& attribute = attributes[launch_config.numAttrs++];
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim = {config.cluster, 1, 1};
  }
  DP_CUDA(cudaLaunchKernelEx(&launch_config, kernel, args...));
  DP_CUDA(cudaGetLastError());
}

}  // namespace doublep::cuda
