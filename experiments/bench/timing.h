// Timing with CUDA events around graph replays, each from a cold L2.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <vector>

#include "cuda/common/runtime.h"

namespace doublep::bench {

class Timer {
 public:
  Timer();
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  cudaStream_t stream() const { return stream_; }
  /// Captures what `enqueue` launches and replays it `repeats` times after `warm_up` runs, reading
  /// some 256 MiB in between so that nothing of it is left in L2. Microseconds of every run.
  std::vector<double> graph_times(const std::function<void(cudaStream_t)>& enqueue, int warm_up,
                                  int repeats);
  /// Microseconds of a graph with one launch that does nothing: the floor of every figure.
  double launch_floor();
  /// Bytes per second of reading several GiB with 16-byte loads, the best of several patterns.
  double read_ceiling();

 private:
  void flush();
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  cuda::DeviceBuffer<unsigned char> cold_;
  cuda::DeviceBuffer<int> sink_;
};

}  // namespace doublep::bench
