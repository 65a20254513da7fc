#include "experiments/bench/timing.h"

#include <algorithm>

#include "core/base/quantile.h"
#include "experiments/bench/device_tools.h"

namespace doublep::bench {

constexpr std::int64_t kColdBytes = 256ll << 20, kCeilingBytes = 4ll << 30;

Timer::Timer() : cold_(kColdBytes), sink_(1) {
  DP_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  DP_CUDA(cudaEventCreate(&begin_));
  DP_CUDA(cudaEventCreate(&end_));
  cold_.zero();
  DP_CUDA(cudaDeviceSynchronize());
}

Timer::~Timer() {
  cudaEventDestroy(begin_);
  cudaEventDestroy(end_);
  cudaStreamDestroy(stream_);
}

void Timer::flush() { read_all(cold_.get(), kColdBytes, sink_.get(), stream_); }

std::vector<double> Timer::graph_times(const std::function<void(cudaStream_t)>& enqueue,
                                       int warm_up, int repeats) {
  DP_CUDA(cudaDeviceSynchronize());  // uploads on the default stream are done
  cudaGraph_t graph;
  cudaGraphExec_t program;
  DP_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  enqueue(stream_);
  DP_CUDA(cudaStreamEndCapture(stream_, &graph));
  DP_CUDA(cudaGraphInstantiate(&program, graph, 0));
  std::vector<double> times;
  for (int i = 0; i < warm_up + repeats; ++i) {
    flush();
    DP_CUDA(cudaEventRecord(begin_, stream_));
    DP_CUDA(cudaGraphLaunch(program, stream_));
    DP_CUDA(cudaEventRecord(end_, stream_));
    DP_CUDA(cudaEventSynchronize(end_));
    float milliseconds = 0;
    DP_CUDA(cudaEventElapsedTime(&milliseconds, begin_, end_));
    if (i >= warm_up) times.push_back(1e3 * milliseconds);
  }
  DP_CUDA(cudaGraphExecDestroy(program));
  DP_CUDA(cudaGraphDestroy(graph));
  return times;
}

double Timer::launch_floor() {
  return quantile(
      graph_times([&](cudaStream_t s) { read_all(cold_.get(), 16, sink_.get(), s); }, 5, 50), 0.5);
}

double Timer::read_ceiling() {
  cuda::DeviceBuffer<unsigned char> memory(kCeilingBytes);
  memory.zero();
  std::vector<double> times = graph_times(
      [&](cudaStream_t s) { read_all(memory.get(), kCeilingBytes, sink_.get(), s); }, 2, 5);
  for (const int blocks : {132, 264, 396, 528, 1 << 16}) {
    const auto more = graph_times(
        [&](cudaStream_t s) { stream_all(memory.get(), kCeilingBytes, blocks, sink_.get(), s); }, 1,
        5);
    times.insert(times.end(), more.begin(), more.end());
  }
  return kCeilingBytes / (*std::min_element(times.begin(), times.end()) * 1e-6);
}

}  // namespace doublep::bench
