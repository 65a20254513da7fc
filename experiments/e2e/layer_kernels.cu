#include <cuda_bf16.h>

#include "cuda/common/launch.h"
#include "experiments/e2e/layer_kernels.h"

namespace doublep::e2e {
namespace {

using Bf16 = __nv_bfloat16;
constexpr int kThreads = 256;

__global__ void add_norm_kernel(Bf16* x, const Bf16* delta, const Bf16* weight, int width,
                                Bf16* out) {
  Bf16* row = x + static_cast<std::int64_t>(blockIdx.x) * width;
  const Bf16* more = delta ? delta + static_cast<std::int64_t>(blockIdx.x) * width : nullptr;
  float squares = 0;
  for (int i = threadIdx.x; i < width; i += blockDim.x) {
    float v = __bfloat162float(row[i]);
    if (more) {
      v += __bfloat162float(more[i]);
      row[i] = __float2bfloat16_rn(v);
    }
    squares += v * v;
  }
  __shared__ float parts[kThreads / 32];
  for (int lane = 16; lane > 0; lane /= 2) squares += __shfl_xor_sync(~0u, squares, lane);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = squares;
  __syncthreads();
  float sum = 0;
  for (int w = 0; w < kThreads / 32; ++w) sum += parts[w];
  const float scale = rsqrtf(sum / width + 1e-5f);
  for (int i = threadIdx.x; i < width; i += blockDim.x)
    out[static_cast<std::int64_t>(blockIdx.x) * width + i] =
        __float2bfloat16_rn(__bfloat162float(row[i]) * scale * __bfloat162float(weight[i]));
}

__global__ void rotary_kernel(RotaryParams p) {
  const int half = p.head_dim / 2, all = p.heads + 2 * p.kv_heads;
  const int head = blockIdx.x % all, row = blockIdx.x / all;
  Bf16* from =
      reinterpret_cast<Bf16*>(p.qkv) + (static_cast<std::int64_t>(row) * all + head) * p.head_dim;
  const int kv = head - p.heads;
  const bool value = kv >= p.kv_heads;
  Bf16* to = from;
  if (kv >= 0) {
    const std::int64_t place =
        static_cast<std::int64_t>(row) * p.kv_heads + (value ? kv - p.kv_heads : kv);
    to = reinterpret_cast<Bf16*>(value ? p.values : p.keys) + place * p.head_dim;
  }
  for (int i = threadIdx.x; i < half; i += blockDim.x) {
    const float a = __bfloat162float(from[i]), b = __bfloat162float(from[i + half]);
    const float2 turn = value ? make_float2(1, 0) : p.turns[i];
    to[i] = __float2bfloat16_rn(a * turn.x - b * turn.y);
    to[i + half] = __float2bfloat16_rn(b * turn.x + a * turn.y);
  }
}

__global__ void silu_kernel(const Bf16* gate_up, int width, std::int64_t count, Bf16* out) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const std::int64_t row = i / width, column = i % width;
  const float gate = __bfloat162float(gate_up[row * 2 * width + column]);
  const float up = __bfloat162float(gate_up[row * 2 * width + width + column]);
  out[i] = __float2bfloat16_rn(gate / (1 + expf(-gate)) * up);
}

__global__ void narrow_kernel(const float* in, std::int64_t count, Bf16* out) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) out[i] = __float2bfloat16_rn(in[i]);
}

__global__ void random_kernel(Bf16* out, std::int64_t count, float scale, std::uint64_t seed) {
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    std::uint64_t x = (seed + 1) * 0x9E3779B97F4A7C15ull + i;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    out[i] = __float2bfloat16_rn(scale * (static_cast<float>(x >> 40) / (1 << 23) - 1.f));
  }
}

unsigned blocks_for(std::int64_t count) {
  return static_cast<unsigned>((count + kThreads - 1) / kThreads);
}
const Bf16* bf16(const std::uint16_t* p) { return reinterpret_cast<const Bf16*>(p); }
Bf16* bf16(std::uint16_t* p) { return reinterpret_cast<Bf16*>(p); }

}  // namespace

void add_norm(std::uint16_t* x, const std::uint16_t* delta, const std::uint16_t* weight, int rows,
              int width, std::uint16_t* out, cudaStream_t stream) {
  cuda::launch({dim3(rows), dim3(kThreads), 0, stream}, add_norm_kernel, bf16(x), bf16(delta),
               bf16(weight), width, bf16(out));
}

void rotary_append(const RotaryParams& p, cudaStream_t stream) {
  cuda::launch({dim3(p.rows * (p.heads + 2 * p.kv_heads)), dim3(64), 0, stream}, rotary_kernel, p);
}

void silu_times(const std::uint16_t* gate_up, int rows, int width, std::uint16_t* out,
                cudaStream_t stream) {
  const std::int64_t count = static_cast<std::int64_t>(rows) * width;
  cuda::launch({dim3(blocks_for(count)), dim3(kThreads), 0, stream}, silu_kernel, bf16(gate_up),
               width, count, bf16(out));
}

void narrow(const float* in, std::int64_t count, std::uint16_t* out, cudaStream_t stream) {
  cuda::launch({dim3(blocks_for(count)), dim3(kThreads), 0, stream}, narrow_kernel, in, count,
               bf16(out));
}

void fill_random(std::uint16_t* out, std::int64_t count, float scale, std::uint64_t seed,
                 cudaStream_t stream) {
  cuda::launch({dim3(1024), dim3(kThreads), 0, stream}, random_kernel, bf16(out), count, scale,
               seed);
}

}  // namespace doublep::e2e
