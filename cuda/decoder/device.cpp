// The device, as the caller's messages name it.
#include "core/base/error.h"
#include "cuda/common/runtime.h"
#include "cuda/decoder/factory.h"

namespace doublep::cuda {

std::string device_problem() {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status != cudaSuccess) {
    cudaGetLastError();  // not sticky for the calls to come
    return concat("no CUDA device: ", cudaGetErrorString(status));
  }
  if (devices == 0) return "no CUDA device: the driver lists none";
  int major = 0;
  DP_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
  if (major < 8)
    return concat("no CUDA device of compute capability 8.0 or later (it is ", major, ".x)");
  return "";
}

std::string device_description() {
  cudaDeviceProp properties{};
  int driver = 0, runtime = 0, device = 0;
  DP_CUDA(cudaGetDevice(&device));
  DP_CUDA(cudaGetDeviceProperties(&properties, device));
  DP_CUDA(cudaDriverGetVersion(&driver));
  DP_CUDA(cudaRuntimeGetVersion(&runtime));
  return concat(properties.name, ", sm_", properties.major, properties.minor, ", ",
                properties.multiProcessorCount, " SMs, ", properties.totalGlobalMem >> 20,
                " MiB, L2 ", properties.l2CacheSize >> 20, " MiB, driver CUDA ", driver / 1000, ".",
                driver % 1000 / 10, ", runtime CUDA ", runtime / 1000, ".", runtime % 1000 / 10);
}

}  // namespace doublep::cuda
