// All layers of a model's decode step but attention, and the times of them: true shapes, weights
// of no meaning.
#pragma once

#include <cublas_v2.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cuda/common/runtime.h"
#include "experiments/bench/timing.h"

namespace doublep::e2e {

/// Of a model as configs/models describes it. Biases of the products are left out; how fast the
/// rotary embedding turns costs nothing.
struct StackShape {
  std::string model;
  int layers = 0, hidden = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0, vocabulary = 0;
  float rotary_base = 500000.f;
};
/// Of the first of these files whose model has such heads. Throws InputError where none has, or a
/// file is no description.
StackShape shape_for(const std::vector<std::string>& models, int head_dim, int group,
                     const std::string& trace);

/// What a step is made of beside attention; a set of them can be timed on its own.
enum StepPart : unsigned {
  kQkv = 1,
  kO = 2,
  kGateUp = 4,
  kDown = 8,
  kHead = 16,
  kSmall = 32,  ///< norms, rotary embedding with the append, activation
  kEverything = 63
};

class Stack {
 public:
  /// Room for `most_rows` rows. The weights are on the device when it returns.
  Stack(const StackShape& shape, int most_rows);
  ~Stack();
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  /// Bytes that a stack allocates.
  static double bytes(const StackShape& shape, int most_rows);

  /// The position of the token that a step decodes. Synchronous; not while a graph is captured.
  void set_position(double position);

  /// One token for `rows` sequences. `attend(layer, stream)` enqueues the layer's attention and
  /// returns its output, float32 [rows, heads * head_dim]; null: no attention at all. Nothing
  /// allocates or synchronises once every product has run outside of a graph: capture it then.
  using Attend = std::function<const float*(int layer, cudaStream_t stream)>;
  void enqueue(int rows, const Attend& attend, cudaStream_t stream, unsigned parts = kEverything);

  /// What the last layer's output projection read: attention's output in 16 bits, [rows, heads *
  /// head_dim]. Synchronous.
  std::vector<std::uint16_t> attended(int rows) const;

  const StackShape& shape() const { return shape_; }

 private:
  using Buffer = cuda::DeviceBuffer<std::uint16_t>;
  struct Layer {
    Buffer qkv, o, gate_up, down, norm1, norm2;
  };
  void product(const Buffer& weight, const Buffer& in, int rows, int n, int k, Buffer& out);

  StackShape shape_;
  cublasHandle_t cublas_ = nullptr;
  std::vector<Layer> layers_;
  Buffer head_, norm_, x_, normed_, qkv_, keys_, values_, attended_, delta_, gate_up_, mixed_,
      logits_;
  cuda::DeviceBuffer<float2> turns_;
  cuda::DeviceBuffer<unsigned char> workspace_;
};

/// Microseconds of a decode step without attention, and of each part alone: all layers of it.
struct Products {
  int batch = 0;
  double without_attention_us = 0, qkv_us = 0, o_us = 0, gate_up_us = 0, down_us = 0, head_us = 0,
         small_us = 0;
};

/// The products of one layer over the rows of a prompt.
struct Prefill {
  int rows = 0;
  double layer_us = 0, flops = 0;
};

/// Runs the step once outside of a graph, so that cuBLAS has chosen and loaded its kernels, then
/// times it and its parts.
Products measure_products(Stack& stack, bench::Timer& timer, int batch, int repeats);

/// One layer's products over so many rows. Allocates a layer and its activations.
std::vector<Prefill> measure_prefill(StackShape shape, bench::Timer& timer,
                                     const std::vector<int>& rows, int repeats);

}  // namespace doublep::e2e
