#include <algorithm>

#include "cuda/common/launch.h"
#include "cuda/step/cache.h"

namespace doublep::cuda {
namespace {

struct AppendParams {
  const unsigned char *new_keys, *new_values;  // [pairs, row_bytes], strides apart
  unsigned char *keys, *values;                // [pairs, capacity, row_bytes]
  std::int32_t* order;                         // [pairs, capacity]
  std::int32_t* lengths;                       // [batch]
  std::int64_t capacity, row_bytes, key_stride, value_stride;
  int kv_heads;
};

/// One block a sequence; a full cache drops the token.
__global__ void append_kernel(AppendParams p) {
  const int sequence = blockIdx.x;
  const std::int32_t row = p.lengths[sequence];
  __syncthreads();
  if (row >= p.capacity) return;
  const int words = static_cast<int>(p.row_bytes / 4);
  for (int i = threadIdx.x; i < p.kv_heads * words; i += blockDim.x) {
    const std::int64_t pair = sequence * p.kv_heads + i / words;
    const std::int64_t to = (pair * p.capacity + row) * words + i % words;
    reinterpret_cast<std::uint32_t*>(p.keys)[to] =
        reinterpret_cast<const std::uint32_t*>(p.new_keys + pair * p.key_stride)[i % words];
    reinterpret_cast<std::uint32_t*>(p.values)[to] =
        reinterpret_cast<const std::uint32_t*>(p.new_values + pair * p.value_stride)[i % words];
    if (i % words == 0) p.order[pair * p.capacity + row] = row;
  }
  if (threadIdx.x == 0) p.lengths[sequence] = row + 1;
}

/// blockIdx.y: the pair; a block's warps take a row each.
__global__ void in_token_order_kernel(const unsigned char* rows, const std::int32_t* order,
                                      std::int64_t capacity, std::int64_t length,
                                      std::int64_t row_bytes, unsigned char* to) {
  const std::int64_t base = blockIdx.y * capacity;
  const int words = static_cast<int>(row_bytes / 4), warps = blockDim.x / 32;
  for (std::int64_t row = blockIdx.x * warps + threadIdx.x / 32; row < length;
       row += static_cast<std::int64_t>(gridDim.x) * warps) {
    const auto* from = reinterpret_cast<const std::uint32_t*>(rows + (base + row) * row_bytes);
    auto* out = reinterpret_cast<std::uint32_t*>(to + (base + order[base + row]) * row_bytes);
    for (int i = threadIdx.x % 32; i < words; i += 32) out[i] = from[i];
  }
}

/// grid (rows, pairs)
__global__ void begin_kernel(std::int32_t* order, std::int64_t capacity, int kv_heads,
                             Cache::Zones zones, std::int32_t* sink_end, std::int32_t* tail_begin,
                             std::int32_t* lengths, std::int32_t* packed_end) {
  const auto row = static_cast<std::int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  const int pair = blockIdx.y, sequence = pair / kv_heads;
  if (row < zones.length) order[pair * capacity + row] = row;
  if (row > 0 || pair % kv_heads > 0) return;
  sink_end[sequence] = zones.sink_end, tail_begin[sequence] = zones.tail_begin;
  lengths[sequence] = zones.length;
  if (packed_end) packed_end[sequence] = 0;
}

}  // namespace

Cache::Cache(const Shape& shape, DType dtype, std::int64_t capacity)
    : shape_(shape),
      dtype_(dtype),
      capacity_(capacity),
      keys_(shape.pairs * capacity * shape.head_dim * bytes_of(dtype)),
      values_(keys_.size()),
      order_(shape.pairs * capacity),
      sink_end_(batch()),
      tail_begin_(batch()),
      lengths_(batch()) {
  sink_end_.zero(), tail_begin_.zero(), lengths_.zero(), order_.zero();
}

void Cache::set_zones(int sequence, std::int32_t sink_end, std::int32_t tail_begin,
                      std::int32_t length) {
  sink_end_.upload(&sink_end, 1, sequence);
  tail_begin_.upload(&tail_begin, 1, sequence);
  lengths_.upload(&length, 1, sequence);
}

void Cache::begin(int sequence, int sequences, std::int32_t sink_end, std::int32_t tail_begin,
                  std::int32_t length, cudaStream_t stream) {
  constexpr int kThreads = 256;
  const auto blocks = static_cast<unsigned>(length / kThreads + 1);
  launch({dim3(blocks, sequences * shape_.kv_heads), dim3(kThreads), 0, stream}, begin_kernel,
         order(static_cast<std::int64_t>(sequence) * shape_.kv_heads), capacity_, shape_.kv_heads,
         Zones{sink_end, tail_begin, length}, sink_end_.get() + sequence,
         tail_begin_.get() + sequence, lengths_.get() + sequence,
         packed() ? packed_end_.get() + sequence : nullptr);
}

Cache::Zones Cache::zones(int sequence) const {
  DP_CUDA(cudaDeviceSynchronize());  // tokens may be joining on any stream
  return {sink_end_.download(1, sequence)[0], tail_begin_.download(1, sequence)[0],
          lengths_.download(1, sequence)[0]};
}

void Cache::append(const void* keys, const void* values, cudaStream_t stream,
                   std::int64_t key_stride, std::int64_t value_stride) {
  const AppendParams p{static_cast<const unsigned char*>(keys),
                       static_cast<const unsigned char*>(values),
                       keys_.get(),
                       values_.get(),
                       order_.get(),
                       lengths_.get(),
                       capacity_,
                       row_bytes(),
                       key_stride > 0 ? key_stride : row_bytes(),
                       value_stride > 0 ? value_stride : row_bytes(),
                       shape_.kv_heads};
  launch({dim3(batch()), dim3(256), 0, stream}, append_kernel, p);
}

void Cache::in_token_order(int sequence, std::int64_t length, void* keys, void* values,
                           cudaStream_t stream) const {
  const std::int64_t first = static_cast<std::int64_t>(sequence) * shape_.kv_heads * capacity_;
  const dim3 grid(static_cast<unsigned>(std::min<std::int64_t>((length + 7) / 8, 512)),
                  shape_.kv_heads);
  const auto restore = [&](const DeviceBuffer<unsigned char>& rows, void* to) {
    launch({grid, dim3(256), 0, stream}, in_token_order_kernel, rows.get() + first * row_bytes(),
           order_.get() + first, capacity_, length, row_bytes(), static_cast<unsigned char*>(to));
  };
  restore(keys_, keys);
  restore(values_, values);
}

}  // namespace doublep::cuda
