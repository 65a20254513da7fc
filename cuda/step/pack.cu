// Rows of a cache in E4M3, a block at a time (core/cache/packed_head.h): once, when clusters are
// made or a block is full, so that plain code by warps is enough.
#include <cuda_bf16.h>

#include <algorithm>

#include "core/base/e4m3.h"
#include "core/cache/packed_head.h"
#include "cuda/common/launch.h"
#include "cuda/step/cache.h"

namespace doublep::cuda {
namespace {

struct PackParams {
  const __nv_bfloat16 *keys, *values;         // [pairs, capacity, dim]
  std::uint8_t *packed_keys, *packed_values;  // the same
  float2* steps;                              // [pairs, capacity]
  std::int64_t capacity;
  int dim, kv_heads;
  std::int32_t* packed_end;  // of the first pair's sequence on
  std::int32_t end;          // what it becomes
  const std::int32_t*
      offsets;  // [pairs, offset_stride]: block b is rows offsets[b] to offsets[b + 1]
  std::int64_t offset_stride;
  std::int32_t first, blocks;  // without offsets: kPackedBlock rows each, from row `first`
};

/// A warp stores rows [begin, end) of one matrix and returns what one stored number stands for.
__device__ float store_rows(const __nv_bfloat16* from, std::int64_t begin, std::int64_t end,
                            int dim, std::uint8_t* to) {
  const int lane = threadIdx.x % 32;
  float largest = 0;
  for (std::int64_t i = begin * dim + lane; i < end * dim; i += 32)
    largest = fmaxf(largest, fabsf(__bfloat162float(from[i])));
  for (int lanes = 16; lanes > 0; lanes /= 2)
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, lanes));
  const E4m3Scale scale = E4m3Scale::of(largest);
  for (std::int64_t i = begin * dim + lane; i < end * dim; i += 32)
    to[i] = scale.store(__bfloat162float(from[i]));
  return scale.step;
}

/// blockIdx.y: the pair; a warp takes a block of rows at a time.
__global__ void pack_kernel(PackParams p) {
  const std::int64_t pair = blockIdx.y, at = pair * p.capacity;
  const int warps = static_cast<int>(blockDim.x) / 32;
  if (blockIdx.x == 0 && threadIdx.x == 0 && pair % p.kv_heads == 0)
    p.packed_end[pair / p.kv_heads] = p.end;
  for (int b = static_cast<int>(blockIdx.x) * warps + threadIdx.x / 32; b < p.blocks;
       b += static_cast<int>(gridDim.x) * warps) {
    const std::int32_t* bounds = p.offsets ? p.offsets + pair * p.offset_stride + b : nullptr;
    const std::int64_t plain = p.first + b * kPackedBlock;
    const std::int64_t begin = bounds ? bounds[0] : plain;
    const std::int64_t end = bounds ? bounds[1] : plain + kPackedBlock;
    const float2 steps = {
        store_rows(p.keys + at * p.dim, begin, end, p.dim, p.packed_keys + at * p.dim),
        store_rows(p.values + at * p.dim, begin, end, p.dim, p.packed_values + at * p.dim)};
    for (std::int64_t row = begin + threadIdx.x % 32; row < end; row += 32)
      p.steps[at + row] = steps;
  }
}

}  // namespace

void Cache::keep_packed(bool keep) {
  if (keep == packed()) return;
  const std::size_t rows = keep ? static_cast<std::size_t>(shape_.pairs) * capacity_ : 0;
  packed_keys_.resize(rows * shape_.head_dim), packed_values_.resize(rows * shape_.head_dim);
  packed_steps_.resize(rows), packed_steps_.zero();  // they are copied in twos, written or not
  packed_end_.resize(keep ? batch() : 0), packed_end_.zero();
}

PackedRows Cache::packed_rows() const {
  if (!packed()) return {};
  return {packed_keys_.get(), packed_values_.get(), packed_steps_.get(), sink_end_.get(),
          packed_end_.get()};
}

void Cache::pack(int sequence, int sequences, const std::int32_t* offsets,
                 std::int64_t offset_stride, std::int32_t first, std::int32_t blocks,
                 std::int32_t end, cudaStream_t stream) {
  if (dtype_ != DType::kBf16) throw CudaError("only a cache in bf16 is packed");
  const int pairs = sequences * shape_.kv_heads;
  const std::int64_t pair = static_cast<std::int64_t>(sequence) * shape_.kv_heads,
                     at = pair * capacity_, element = at * shape_.head_dim;
  const PackParams p{reinterpret_cast<const __nv_bfloat16*>(keys_.get()) + element,
                     reinterpret_cast<const __nv_bfloat16*>(values_.get()) + element,
                     packed_keys_.get() + element,
                     packed_values_.get() + element,
                     packed_steps_.get() + at,
                     capacity_,
                     shape_.head_dim,
                     shape_.kv_heads,
                     packed_end_.get() + sequence,
                     end,
                     offsets,
                     offset_stride,
                     first,
                     blocks};
  constexpr int kWarps = 4;
  const auto grid = static_cast<unsigned>(std::clamp((blocks + kWarps - 1) / kWarps, 1, 1024));
  launch({dim3(grid, pairs), dim3(32 * kWarps), 0, stream}, pack_kernel, p);
}

void Cache::pack_clusters(int sequence, int sequences, const std::int32_t* offsets,
                          std::int64_t offset_stride, std::int32_t clusters, std::int32_t end,
                          cudaStream_t stream) {
  pack(sequence, sequences, offsets, offset_stride, 0, clusters, end, stream);
}

void Cache::pack_in_order(int sequence, std::int32_t length, cudaStream_t stream) {
  const auto block = static_cast<std::int32_t>(kPackedBlock);
  const std::int32_t first = packed_end_.download(1, sequence)[0], end = length / block * block;
  if (end > first) pack(sequence, 1, nullptr, 0, first, (end - first) / block, end, stream);
}

}  // namespace doublep::cuda
