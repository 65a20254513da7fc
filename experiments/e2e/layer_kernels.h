// The small kernels of a transformer layer's decode step. Element type bfloat16, rows of a batch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace doublep::e2e {

/// x += delta (where given), out = x / rms(x) * weight. One block per row.
void add_norm(std::uint16_t* x, const std::uint16_t* delta, const std::uint16_t* weight, int rows,
              int width, std::uint16_t* out, cudaStream_t stream);

/// qkv [rows, (heads + 2 kv_heads) * d]: turns queries and keys by their position, keeps the
/// queries in place, puts keys and values [rows, kv_heads, d] where the cache takes them.
struct RotaryParams {
  std::uint16_t* qkv = nullptr;
  std::uint16_t *keys = nullptr, *values = nullptr;
  int rows = 0, heads = 0, kv_heads = 0, head_dim = 0;
  /// cos, sin per pair of dimensions [head_dim / 2], of the position that all rows are at: a table,
  /// as engines keep one, since the functions themselves are slow for large angles.
  const float2* turns = nullptr;
};
void rotary_append(const RotaryParams& params, cudaStream_t stream);

/// gate_up [rows, 2 width] -> out [rows, width] = silu(gate) * up.
void silu_times(const std::uint16_t* gate_up, int rows, int width, std::uint16_t* out,
                cudaStream_t stream);

/// float32 -> bfloat16.
void narrow(const float* in, std::int64_t count, std::uint16_t* out, cudaStream_t stream);

/// Small pseudo-random numbers, for weights whose values do not matter.
void fill_random(std::uint16_t* out, std::int64_t count, float scale, std::uint64_t seed,
                 cudaStream_t stream);

}  // namespace doublep::e2e
