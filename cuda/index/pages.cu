#include <cmath>

#include "cuda/common/launch.h"
#include "cuda/common/mma.cuh"
#include "cuda/common/types.h"
#include "cuda/index/pages.h"

namespace doublep::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;
unsigned blocks_for(std::int64_t work, int per_block) {
  return static_cast<unsigned>((work + per_block - 1) / per_block);
}

/// grid (pages, pairs); a thread takes every kThreads-th dimension.
template <class T>
__global__ void page_kernel(PageParams p) {
  const std::int64_t pair = blockIdx.y, page = p.first_page + static_cast<int>(blockIdx.x);
  const int d = p.head_dim;
  const std::int64_t first = page * p.page_size;
  const int count = static_cast<int>(min(static_cast<std::int64_t>(p.page_size), p.rows - first));
  const T* rows = static_cast<const T*>(p.keys) + (pair * p.capacity + first) * d;
  const std::int64_t out = (pair * p.page_capacity + page) * d;
  for (int i = threadIdx.x; i < d; i += kThreads) {
    float high = -INFINITY, low = INFINITY;
    for (int r = 0; r < count; ++r) {
      const float v = Packed<T>::to_float(rows[static_cast<std::int64_t>(r) * d + i]);
      high = fmaxf(high, v), low = fminf(low, v);
    }
    static_cast<T*>(p.highs)[out + i] = Packed<T>::from_float(high);
    static_cast<T*>(p.lows)[out + i] = Packed<T>::from_float(low);
  }
}

/// All offsets: the tail moves with every token. Pages that there are not have no rows.
/// grid (ceil((capacity + 1) / threads), pairs)
__global__ void page_offsets(PageParams p) {
  const std::int64_t page = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (page > p.page_capacity) return;
  const std::int64_t row = max(min(page * p.page_size, static_cast<std::int64_t>(p.tail_begin)),
                               static_cast<std::int64_t>(p.sink_end));
  p.offsets[blockIdx.y * (p.page_capacity + 1) + page] = static_cast<std::int32_t>(row);
}

/// One warp a row; a lane packs words of eight dimensions.
template <class T>
__global__ void nibble_kernel(NibbleParams p) {
  const int row = p.first_row + static_cast<int>(blockIdx.x * kWarps + threadIdx.x / 32);
  const int d = p.head_dim, lane = threadIdx.x % 32;
  if (row >= p.rows) return;
  const std::int64_t at = blockIdx.y * p.capacity + row;
  const T* key = static_cast<const T*>(p.keys) + at * d;
  float low = INFINITY, high = -INFINITY;
  for (int i = lane; i < d; i += 32) {
    const float v = Packed<T>::to_float(key[i]);
    low = fminf(low, v), high = fmaxf(high, v);
  }
  for (int n = 16; n > 0; n /= 2) {
    low = fminf(low, __shfl_xor_sync(~0u, low, n));
    high = fmaxf(high, __shfl_xor_sync(~0u, high, n));
  }
  // float64, as the reference: a code between two neighbours goes to the same one.
  const double step = (static_cast<double>(high) - low) / 15;
  for (int word = lane; word < d / 8; word += 32) {
    std::uint32_t packed = 0;
    for (int i = 0; i < 8; ++i) {
      const float v = Packed<T>::to_float(key[8 * word + i]);
      const double code = step > 0 ? rint((static_cast<double>(v) - low) / step) : 0;
      packed |= static_cast<std::uint32_t>(fmin(fmax(code, 0.), 15.)) << (4 * i);
    }
    p.codes[at * (d / 8) + word] = packed;
  }
  if (lane == 0) p.scales[at] = {low, static_cast<float>(step)};
}

/// Codes 2 i and 2 i + 1 of a word as two 16-bit floats. The integer is placed in the mantissa of
/// 128 (bfloat16) or 1024 (half), which is then taken off: exact.
template <class T>
__device__ std::uint32_t expand(std::uint32_t word, int i) {
  const std::uint32_t byte = word >> (8 * i);
  const std::uint32_t pair = (byte & 0xF) | (byte & 0xF0) << 12;
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    const std::uint32_t raised = pair | 0x43004300u, base = 0x43004300u;
    const __nv_bfloat162 v = __hsub2(reinterpret_cast<const __nv_bfloat162&>(raised),
                                     reinterpret_cast<const __nv_bfloat162&>(base));
    return reinterpret_cast<const std::uint32_t&>(v);
  } else {
    const std::uint32_t raised = pair | 0x64006400u, base = 0x64006400u;
    const __half2 v =
        __hsub2(reinterpret_cast<const __half2&>(raised), reinterpret_cast<const __half2&>(base));
    return reinterpret_cast<const std::uint32_t&>(v);
  }
}

/// grid (runs / kWarps, pairs); a warp scores one run for all heads of its pair.
template <class T, int D>
__global__ void __launch_bounds__(kThreads)
    nibble_estimate(const __grid_constant__ NibbleEstimateParams p) {
  const int pair = blockIdx.y, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
  const int group = p.shape.group;
  dependency_release();
  dependency_wait();
  const int runs = p.num_runs[pair];
  if (blockIdx.x == 0 && threadIdx.x == 0) p.num_slots[pair] = runs * kTile;
  QueryFragment<T, D> q;
  q.load(static_cast<const T*>(p.queries) + static_cast<std::int64_t>(pair) * group * D, group);
  // sum of the query's dimensions: what the rows' low end is multiplied with
  float total = 0;
#pragma unroll
  for (const uint4& v : q.chunk)
    for (std::uint32_t word : {v.x, v.y, v.z, v.w}) {
      const float2 f = Packed<T>::unpack(word);
      total += f.x + f.y;
    }
  total += __shfl_xor_sync(~0u, total, 1);
  total += __shfl_xor_sync(~0u, total, 2);
  const float sums[2] = {__shfl_sync(~0u, total, 8 * c), __shfl_sync(~0u, total, 8 * c + 4)};

  for (int r = blockIdx.x * kWarps + threadIdx.x / 32; r < runs; r += gridDim.x * kWarps) {
    const Run run = p.runs[pair * p.run_capacity + r];
    const int count = run.meta & 0xFF;
    const std::int64_t first = pair * p.capacity + run.row;
    std::uint32_t low[RowFragment<D>::kChunks] = {}, high[RowFragment<D>::kChunks] = {};
#pragma unroll
    for (int j = 0; j < RowFragment<D>::kChunks; ++j) {
      const bool inside = 32 * j + 8 * c < D;
      if (inside && g < count) low[j] = p.codes[(first + g) * (D / 8) + 4 * j + c];
      if (inside && g + 8 < count) high[j] = p.codes[(first + g + 8) * (D / 8) + 4 * j + c];
    }
    float s[4] = {0, 0, 0, 0};
#pragma unroll
    for (int j = 0; j < RowFragment<D>::kChunks; ++j) {
      Packed<T>::mma(s, expand<T>(low[j], 0), expand<T>(high[j], 0), expand<T>(low[j], 1),
                     expand<T>(high[j], 1), q.chunk[j].x, q.chunk[j].y);
      Packed<T>::mma(s, expand<T>(low[j], 2), expand<T>(high[j], 2), expand<T>(low[j], 3),
                     expand<T>(high[j], 3), q.chunk[j].z, q.chunk[j].w);
    }
    const NibbleScale scale[2] = {g < count ? p.scales[first + g] : NibbleScale{0, 0},
                                  g + 8 < count ? p.scales[first + g + 8] : NibbleScale{0, 0}};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int head = 2 * c + (i & 1), row = i < 2 ? g : g + 8;
      if (head >= group) continue;
      const bool mine = row < count && (run.meta >> (8 + head) & 1);
      const NibbleScale& k = scale[i / 2];
      p.logits[(static_cast<std::int64_t>(pair) * group + head) * p.slot_capacity + r * kTile +
               row] = mine ? p.scale * (k.step * s[i] + k.low * sums[i & 1]) : -INFINITY;
    }
    if (threadIdx.x % 32 < kTile)
      p.rows[pair * p.slot_capacity + r * kTile + threadIdx.x % 32] = run.row + threadIdx.x % 32;
  }
}

/// float32: a warp scores one run, a row and a head at a time.
__global__ void nibble_estimate_simt(const __grid_constant__ NibbleEstimateParams p) {
  const int pair = blockIdx.y, d = p.shape.head_dim, lane = threadIdx.x % 32;
  dependency_release();
  dependency_wait();
  const int runs = p.num_runs[pair];
  if (blockIdx.x == 0 && threadIdx.x == 0) p.num_slots[pair] = runs * kTile;
  for (int r = blockIdx.x * kWarps + threadIdx.x / 32; r < runs; r += gridDim.x * kWarps) {
    const Run run = p.runs[pair * p.run_capacity + r];
    const int count = run.meta & 0xFF;
    for (int row = 0; row < kTile; ++row) {
      const std::int64_t at = pair * p.capacity + run.row + row;
      const NibbleScale k = row < count ? p.scales[at] : NibbleScale{0, 0};
      for (int head = 0; head < p.shape.group; ++head) {
        const std::int64_t h = static_cast<std::int64_t>(pair) * p.shape.group + head;
        const float* q = static_cast<const float*>(p.queries) + h * d;
        float dot = 0;
        for (int i = lane; i < d && row < count; i += 32) {
          const std::uint32_t code = p.codes[at * (d / 8) + i / 8] >> (4 * (i % 8)) & 0xF;
          dot += q[i] * (k.low + k.step * static_cast<float>(code));
        }
        for (int lanes = 1; lanes < 32; lanes *= 2) dot += __shfl_xor_sync(~0u, dot, lanes);
        const bool mine = row < count && (run.meta >> (8 + head) & 1);
        if (lane == 0)
          p.logits[h * p.slot_capacity + r * kTile + row] = mine ? p.scale * dot : -INFINITY;
      }
    }
    if (lane < kTile) p.rows[pair * p.slot_capacity + r * kTile + lane] = run.row + lane;
  }
}

}  // namespace

void build_pages(const PageParams& p, cudaStream_t stream) {
  launch({dim3(blocks_for(p.page_capacity + 1, kThreads), p.pairs), dim3(kThreads), 0, stream},
         page_offsets, p);
  if (p.num_pages <= p.first_page) return;
  const LaunchConfig config{dim3(p.num_pages - p.first_page, p.pairs), dim3(kThreads), 0, stream};
  switch (p.dtype) {
    case DType::kFp32:
      return launch(config, page_kernel<float>, p);
    case DType::kFp16:
      return launch(config, page_kernel<__half>, p);
    case DType::kBf16:
      return launch(config, page_kernel<__nv_bfloat16>, p);
  }
}

void build_nibbles(const NibbleParams& p, cudaStream_t stream) {
  if (p.rows <= p.first_row) return;
  const LaunchConfig config{dim3(blocks_for(p.rows - p.first_row, kWarps), p.pairs), dim3(kThreads),
                            0, stream};
  switch (p.dtype) {
    case DType::kFp32:
      return launch(config, nibble_kernel<float>, p);
    case DType::kFp16:
      return launch(config, nibble_kernel<__half>, p);
    case DType::kBf16:
      return launch(config, nibble_kernel<__nv_bfloat16>, p);
  }
}

void estimate_nibbles(const NibbleEstimateParams& p, cudaStream_t stream, bool overlap) {
  // Two runs a warp: enough blocks to fill the chip, not so many that their start is felt.
  const LaunchConfig config{dim3(blocks_for(p.run_capacity, 2 * kWarps), p.shape.pairs),
                            dim3(kThreads), 0, stream, overlap};
  if (p.dtype == DType::kFp32) return launch(config, nibble_estimate_simt, p);
  for_head_dim(p.shape.head_dim, [&]<int kDim>(std::integral_constant<int, kDim>) {
    if (p.dtype == DType::kFp16)
      launch(config, nibble_estimate<__half, kDim>, p);
    else
      launch(config, nibble_estimate<__nv_bfloat16, kDim>, p);
  });
}

}  // namespace doublep::cuda
