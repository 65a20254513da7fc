// What a call of the package asks to be run, and a decoder over a sequence that its caller brings
// token by token. No Python here.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/decoder/device_decoder.h"
#include "experiments/config/sweep.h"
#include "experiments/python/growing_cache.h"
#include "experiments/run/runner.h"

namespace doublep::python {

/// In the words of a sweep, so that defaults, checks, backends and their refusals are the
/// program's.
struct Setting {
  std::string policy, backend = "cpu", kv_dtype = "bf16";
  std::int64_t seed = 0;
  std::map<std::string, ParamValue> parameters;
};

/// A sweep of one run, called `name` in messages. Throws InputError.
Sweep request(const std::string& name, const Setting& setting);

/// Calls come from any thread, and wait for each other.
class DecoderSession {
 public:
  struct Options {
    std::optional<double> softmax_scale;   ///< none: 1/sqrt(head_dim)
    std::int64_t layer = 0;                ///< keys what sampling policies draw
    std::optional<std::int64_t> capacity;  ///< tokens that there is room for without moving
  };

  /// Throws InputError for parameters, and for a backend that cannot serve them.
  DecoderSession(const Setting& setting, const Options& options);

  /// Starts a sequence; called again, another one. What was there stays where this throws.
  /// `prefill_queries`: [positions, num_query_heads, head_dim] or null. All lie in the host's
  /// memory, or all on the GPU of a decoder there, where they are copied; what joins lies as they
  /// do.
  void prefill(const TensorIn& keys, const TensorIn& values, const TensorIn* prefill_queries);
  void append(const TensorIn& keys, const TensorIn& values);
  struct Step {
    StepResult result;
    std::int64_t visible_tokens = 0;
  };
  /// `queries`: [1, num_query_heads, head_dim], on a GPU where the cache came there. `output`:
  /// null, or float32 of so many heads and dimensions on that GPU, where the output goes then.
  struct Output {
    float* data;
    std::int64_t heads, value_dim;
  };
  Step step(const TensorIn& queries, Detail detail, const Output* output);

  bool on_cpu() const { return on_cpu_; }
  struct State {
    std::int64_t length = 0;  ///< visible tokens; 0 before prefill
    bool in_place = false;    ///< the cache is the caller's memory
    bool on_gpu = false;      ///< it came as tensors on the GPU
    IndexCost index_cost;
  };
  State state() const;
  const RunSpec& run() const { return sweep_.runs[0]; }

 private:
  void require_prefill(const char* call) const;
  void check_queries(const TensorIn& queries, int num_query_heads, const KvCacheView& cache) const;
  double scale(int head_dim) const;
  void prefill_on_gpu(const TensorIn& keys, const TensorIn& values,
                      const TensorIn* prefill_queries);
  /// As the decoder on the GPU takes it. Throws InputError.
  DeviceTensor on_gpu(const TensorIn& tensor) const;
  /// Throws InputError for a tensor that lies elsewhere than the cache.
  void require_place(const TensorIn& tensor, bool gpu) const;
  const KvCacheView& view() const { return device_ ? shape_ : cache_.view(); }

  Sweep sweep_;
  Options options_;
  DecoderFactory make_;
  bool on_cpu_;
  mutable std::mutex mutex_;
  std::unique_ptr<Decoder> decoder_;    ///< null before prefill
  DeviceDecoder* device_ = nullptr;     ///< decoder_ where the cache came on the GPU, else null
  KvCacheView shape_;                   ///< then: without addresses
  GrowingCache cache_;                  ///< else
  std::vector<float> prefill_queries_;  ///< where they were converted,
  std::shared_ptr<const void> prefill_queries_memory_;  ///< or where they lie
  int num_query_heads_ = 0;                             ///< 0: not yet known
  std::int64_t steps_ = 0;
};

}  // namespace doublep::python
