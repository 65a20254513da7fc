// Small kernels the benchmark needs: filling caches from recorded heads, and reading memory as fast
// as the chip can.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace doublep::bench {

/// Rows [0, rows) of one KV head: row j is material row (j + shift) % material_rows, plus `noise`
/// times its channel's `spread` times a fixed pseudo-random normal, so that repeats are near
/// copies, not copies.
struct TileParams {
  const float* material = nullptr;  ///< [material_rows, head_dim]
  std::int64_t material_rows = 0;
  int head_dim = 0;
  std::int64_t rows = 0, shift = 0;
  float noise = 0;
  const float* spread = nullptr;  ///< [head_dim]
  std::uint64_t seed = 0;
  std::uint16_t* out = nullptr;  ///< [rows, head_dim], bfloat16
};
void tile_rows(const TileParams& params, cudaStream_t stream);

/// Reads every byte once, 16 at a time; `sink` receives nothing in practice.
void read_all(const void* memory, std::int64_t bytes, int* sink, cudaStream_t stream);
/// The same in stretches of 64 KiB a block and turn; bytes: a multiple of that.
void stream_all(const void* memory, std::int64_t bytes, int blocks, int* sink, cudaStream_t stream);

}  // namespace doublep::bench
