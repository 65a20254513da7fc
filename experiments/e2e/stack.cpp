#include "experiments/e2e/stack.h"

#include "core/base/error.h"
#include "cuda/common/check.h"
#include "experiments/e2e/layer_kernels.h"

namespace doublep::e2e {
namespace {

constexpr std::size_t kWorkspace = 32u << 20;  // what cuBLAS recommends on Hopper

void check_blas(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw cuda::CudaError(concat(call, ": cuBLAS status ", static_cast<int>(status)));
}

}  // namespace

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
  fill(x_, m * h, 1.f);
  normed_.resize(m * h), qkv_.resize(m * (q + 2 * kv)), keys_.resize(m * kv);
  values_.resize(m * kv), attended_.resize(m * q), delta_.resize(m * h);
  gate_up_.resize(m * 2 * s.ffn), mixed_.resize(m * s.ffn);
  logits_.resize(m * s.vocabulary);
  fill(attended_, m * q, 1.f);
  workspace_.resize(kWorkspace);
  check_blas(cublasCreate(&cublas_), "cublasCreate");
}

Stack::~Stack() {
  if (cublas_) cublasDestroy(cublas_);
}

// out[rows, n] = in[rows, k] weight[n, k]^T, as a linear layer keeps it.
void Stack::product(const Buffer& weight, const Buffer& in, int rows, int n, int k, Buffer& out) {
  const float one = 1, zero = 0;
  check_blas(cublasGemmEx(cublas_, CUBLAS_OP_T, CUBLAS_OP_N, n, rows, k, &one, weight.get(),
                          CUDA_R_16BF, k, in.get(), CUDA_R_16BF, k, &zero, out.get(), CUDA_R_16BF,
                          n, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
             "cublasGemmEx");
}

void Stack::enqueue(int rows, float position, const Attend& attend, cudaStream_t stream) {
  const StackShape& s = shape_;
  const int q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  check_blas(cublasSetStream(cublas_, stream), "cublasSetStream");
  check_blas(cublasSetWorkspace(cublas_, workspace_.get(), kWorkspace), "cublasSetWorkspace");
  const Buffer* delta = nullptr;
  for (int l = 0; l < s.layers; ++l) {
    const Layer& layer = layers_[l];
    add_norm(x_.get(), delta ? delta->get() : nullptr, layer.norm1.get(), rows, s.hidden,
             normed_.get(), stream);
    product(layer.qkv, normed_, rows, q + 2 * kv, s.hidden, qkv_);
    rotary_append(
        {qkv_.get(), keys_.get(), values_.get(), rows, s.heads, s.kv_heads, s.head_dim, position},
        stream);
    if (attend)
      narrow(attend(l, stream), static_cast<std::int64_t>(rows) * q, attended_.get(), stream);
    product(layer.o, attended_, rows, s.hidden, q, delta_);
    add_norm(x_.get(), delta_.get(), layer.norm2.get(), rows, s.hidden, normed_.get(), stream);
    product(layer.gate_up, normed_, rows, 2 * s.ffn, s.hidden, gate_up_);
    silu_times(gate_up_.get(), rows, s.ffn, mixed_.get(), stream);
    product(layer.down, mixed_, rows, s.hidden, s.ffn, delta_);
    delta = &delta_;
  }
  add_norm(x_.get(), delta->get(), norm_.get(), rows, s.hidden, normed_.get(), stream);
  product(head_, normed_, rows, s.vocabulary, s.hidden, logits_);
}

}  // namespace doublep::e2e
