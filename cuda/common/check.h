// Every CUDA call goes through DP_CUDA: a failure names the call, the file and the line.
#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace doublep::cuda {

/// A CUDA call failed; the message says which, where and how.
class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void check(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  throw CudaError(std::string(file) + ":" + std::to_string(line) + ": " + call + ": " +
                  cudaGetErrorName(status) + ", " + cudaGetErrorString(status));
}

}  // namespace doublep::cuda

#define DP_CUDA(call) ::doublep::cuda::check((call), #call, __FILE__, __LINE__)
