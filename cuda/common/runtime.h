// The CUDA runtime as this house calls it: every call through DP_CUDA, so that a failure names the
// call, the file and the line; device memory with an owner, allocated when a plan is made, never
// inside a decode step.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#define DP_CUDA(call) ::doublep::cuda::check((call), #call, __FILE__, __LINE__)

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

template <class T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(std::size_t count) { resize(count); }
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~DeviceBuffer() { cudaFree(data_); }

  /// Drops what it held. The new memory is not initialised.
  void resize(std::size_t count) {
    cudaFree(std::exchange(data_, nullptr));
    size_ = 0;
    if (count > 0) DP_CUDA(cudaMalloc(reinterpret_cast<void**>(&data_), count * sizeof(T)));
    size_ = count;
  }
  void zero(cudaStream_t stream = nullptr) {
    if (size_ > 0) DP_CUDA(cudaMemsetAsync(data_, 0, size_ * sizeof(T), stream));
  }
  /// Synchronous copies, for setup, what a step reports, and tests.
  void upload(const T* host, std::size_t count, std::size_t at = 0) {
    if (count > 0) DP_CUDA(cudaMemcpy(data_ + at, host, count * sizeof(T), cudaMemcpyHostToDevice));
  }
  void upload(const std::vector<T>& host) {
    if (host.size() > size_) resize(host.size());
    upload(host.data(), host.size());
  }
  std::vector<T> download(std::size_t count, std::size_t at = 0) const {
    std::vector<T> host(count);
    if (count > 0)
      DP_CUDA(cudaMemcpy(host.data(), data_ + at, count * sizeof(T), cudaMemcpyDeviceToHost));
    return host;
  }
  std::vector<T> download() const { return download(size_); }

  T* get() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  void swap(DeviceBuffer& other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace doublep::cuda
