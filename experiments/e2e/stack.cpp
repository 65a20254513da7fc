#include "experiments/e2e/stack.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/base/quantile.h"
#include "cuda/common/runtime.h"
#include "experiments/e2e/layer_kernels.h"
#include "experiments/simulate/inputs.h"

namespace doublep::e2e {
namespace {

constexpr std::size_t kWorkspace = 32u << 20;  // what cuBLAS recommends on Hopper

void check_blas(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw cuda::CudaError(concat(call, ": cuBLAS status ", static_cast<int>(status), ", ",
                                 cublasGetStatusString(status)));
}

}  // namespace

StackShape shape_for(const std::vector<std::string>& models, int head_dim, int group,
                     const std::string& trace) {
  std::string known;
  for (const std::string& path : models) {
    const sim::Model m = sim::load_model(path);
    if (m.head_dim == head_dim && m.group_size() == group)
      return {m.name,     m.layers,   static_cast<int>(m.hidden), m.query_heads,
              m.kv_heads, m.head_dim, static_cast<int>(m.ffn),    static_cast<int>(m.vocabulary)};
    known += concat(known.empty() ? "" : "; ", m.name, ": ", m.head_dim, " and ", m.group_size());
  }
  fail_input(trace, ": head_dim ", head_dim, " and ", group,
             " query heads a KV head, which no --model has (", known.empty() ? "none given" : known,
             "); name a description such as those in configs/models");
}

double Stack::bytes(const StackShape& s, int most_rows) {
  const double h = s.hidden, q = 1.0 * s.heads * s.head_dim, kv = 1.0 * s.kv_heads * s.head_dim;
  const double layer = (q + 2 * kv) * h + h * q + 3.0 * s.ffn * h + 2 * h;
  const double row = 3 * h + 2 * q + 4 * kv + 3.0 * s.ffn + s.vocabulary;
  return 2 * (s.layers * layer + s.vocabulary * h + h + most_rows * row) + kWorkspace;
}

Stack::Stack(const StackShape& s, int most_rows) : shape_(s), layers_(s.layers) {
  const std::int64_t h = s.hidden, q = static_cast<std::int64_t>(s.heads) * s.head_dim,
                     kv = static_cast<std::int64_t>(s.kv_heads) * s.head_dim, m = most_rows;
  std::uint64_t seed = 0;
  const auto fill = [&](Buffer& buffer, std::int64_t count, float scale) {
    buffer.resize(count);
    fill_random(buffer.get(), count, scale, ++seed, nullptr);
  };
  for (Layer& layer : layers_) {
    fill(layer.qkv, (q + 2 * kv) * h, 0.02f), fill(layer.o, h * q, 0.02f);
    fill(layer.gate_up, 2ll * s.ffn * h, 0.02f), fill(layer.down, h * s.ffn, 0.02f);
    fill(layer.norm1, h, 1.f), fill(layer.norm2, h, 1.f);
  }
  fill(head_, static_cast<std::int64_t>(s.vocabulary) * h, 0.02f), fill(norm_, h, 1.f);
  // Parts that run alone read what no part before them wrote: every activation begins random.
  fill(x_, m * h, 1.f), fill(normed_, m * h, 1.f), fill(qkv_, m * (q + 2 * kv), 1.f);
  fill(attended_, m * q, 1.f), fill(delta_, m * h, 0.1f);
  fill(gate_up_, m * 2 * s.ffn, 1.f), fill(mixed_, m * s.ffn, 1.f);
  keys_.resize(m * kv), values_.resize(m * kv), logits_.resize(m * s.vocabulary);
  turns_.resize(s.head_dim / 2);
  set_position(0);
  workspace_.resize(kWorkspace);
  check_blas(cublasCreate(&cublas_), "cublasCreate");
  DP_CUDA(cudaDeviceSynchronize());
}

Stack::~Stack() {
  if (cublas_) cublasDestroy(cublas_);
}

void Stack::set_position(double position) {
  std::vector<float2> turns(shape_.head_dim / 2);
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const double angle = position * std::pow(double(shape_.rotary_base), -double(i) / turns.size());
    turns[i] = {static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
  }
  turns_.upload(turns);
}

std::vector<std::uint16_t> Stack::attended(int rows) const {
  return attended_.download(static_cast<std::size_t>(rows) * shape_.heads * shape_.head_dim);
}

// out[rows, n] = in[rows, k] weight[n, k]^T, as a linear layer keeps it.
void Stack::product(const Buffer& weight, const Buffer& in, int rows, int n, int k, Buffer& out) {
  const float one = 1, zero = 0;
  check_blas(cublasGemmEx(cublas_, CUBLAS_OP_T, CUBLAS_OP_N, n, rows, k, &one, weight.get(),
                          CUDA_R_16BF, k, in.get(), CUDA_R_16BF, k, &zero, out.get(), CUDA_R_16BF,
                          n, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
             "cublasGemmEx");
}

void Stack::enqueue(int rows, const Attend& attend, cudaStream_t stream, unsigned parts) {
  const StackShape& s = shape_;
  const int q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  // In this order: setting the stream takes the handle back to cuBLAS's own workspace, which it
  // would allocate, and that ends a capture.
  check_blas(cublasSetStream(cublas_, stream), "cublasSetStream");
  check_blas(cublasSetWorkspace(cublas_, workspace_.get(), kWorkspace), "cublasSetWorkspace");
  const bool small = parts & kSmall;
  const Buffer* delta = nullptr;
  for (int l = 0; l < s.layers; ++l) {
    const Layer& layer = layers_[l];
    if (small)
      add_norm(x_.get(), delta ? delta->get() : nullptr, layer.norm1.get(), rows, s.hidden,
               normed_.get(), stream);
    if (parts & kQkv) product(layer.qkv, normed_, rows, q + 2 * kv, s.hidden, qkv_);
    if (small)
      rotary_append({qkv_.get(), keys_.get(), values_.get(), rows, s.heads, s.kv_heads, s.head_dim,
                     turns_.get()},
                    stream);
    if (attend)
      narrow(attend(l, stream), static_cast<std::int64_t>(rows) * q, attended_.get(), stream);
    if (parts & kO) product(layer.o, attended_, rows, s.hidden, q, delta_);
    if (small)
      add_norm(x_.get(), delta_.get(), layer.norm2.get(), rows, s.hidden, normed_.get(), stream);
    if (parts & kGateUp) product(layer.gate_up, normed_, rows, 2 * s.ffn, s.hidden, gate_up_);
    if (small) silu_times(gate_up_.get(), rows, s.ffn, mixed_.get(), stream);
    if (parts & kDown) product(layer.down, mixed_, rows, s.hidden, s.ffn, delta_);
    delta = &delta_;
  }
  if (small) add_norm(x_.get(), delta->get(), norm_.get(), rows, s.hidden, normed_.get(), stream);
  if (parts & kHead) product(head_, normed_, rows, s.vocabulary, s.hidden, logits_);
}

Products measure_products(Stack& stack, bench::Timer& timer, int batch, int repeats) {
  stack.enqueue(batch, nullptr, timer.stream());
  DP_CUDA(cudaStreamSynchronize(timer.stream()));
  const auto time = [&](unsigned parts) {
    return quantile(
        timer.graph_times([&](cudaStream_t s) { stack.enqueue(batch, nullptr, s, parts); }, 2,
                          repeats),
        0.5);
  };
  Products p;
  p.batch = batch;
  p.without_attention_us = time(kEverything);
  p.qkv_us = time(kQkv), p.o_us = time(kO), p.gate_up_us = time(kGateUp);
  p.down_us = time(kDown), p.head_us = time(kHead), p.small_us = time(kSmall);
  return p;
}

std::vector<Prefill> measure_prefill(StackShape shape, bench::Timer& timer,
                                     const std::vector<int>& rows, int repeats) {
  if (rows.empty()) return {};
  shape.layers = 1, shape.vocabulary = 128;  // the head is left out: a prompt needs it once
  Stack stack(shape, *std::max_element(rows.begin(), rows.end()));
  const double q = 1.0 * shape.heads * shape.head_dim, kv = 1.0 * shape.kv_heads * shape.head_dim;
  const double weights = shape.hidden * (2 * q + 2 * kv + 3.0 * shape.ffn);
  const unsigned products = kQkv | kO | kGateUp | kDown;
  std::vector<Prefill> found;
  for (const int m : rows) {
    stack.enqueue(m, nullptr, timer.stream(), products);
    DP_CUDA(cudaStreamSynchronize(timer.stream()));
    const auto times = timer.graph_times(
        [&](cudaStream_t s) { stack.enqueue(m, nullptr, s, products); }, 2, repeats);
    found.push_back({m, quantile(times, 0.5), 2 * m * weights});
  }
  return found;
}

}  // namespace doublep::e2e
