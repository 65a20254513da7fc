#include <algorithm>

#include "cuda/common/launch.h"
#include "cuda/common/mma.cuh"
#include "cuda/common/types.h"
#include "cuda/index/stages.h"

namespace doublep::cuda {
namespace {

constexpr int kWarps = 8, kRowTiles = 8;  // tiles of 16 keys that a warp takes in turn
/// Elements by which a row of W is longer in shared memory, so that the rows of a product's eight
/// columns lie in different banks.
constexpr int kPad = 32;

/// grid (blocks of kWarps * kRowTiles tiles, pairs). A warp multiplies 16 keys with all of W, which
/// lies in shared memory, eight columns at a time; W is symmetric, so its columns are rows.
template <class T, int D>
__global__ void __launch_bounds__(32 * kWarps)
    warp_kernel(const __grid_constant__ WarpKeysParams p) {
  extern __shared__ __align__(16) unsigned char shared[];
  T* w = reinterpret_cast<T*>(shared);
  const int pair = blockIdx.y, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
  const float* from =
      p.warp + static_cast<std::int64_t>(p.warps > 0 ? pair % p.warps : pair) * D * D;
  for (int i = threadIdx.x; i < D * D; i += 32 * kWarps)
    w[i / D * (D + kPad) + i % D] = Packed<T>::from_float(from[i]);
  __syncthreads();
  const std::uint16_t* keys = p.keys + pair * p.key_stride;
  std::uint16_t* out = p.out + static_cast<std::int64_t>(pair) * p.points * D;
  const int tiles = (p.points + kTile - 1) / kTile;
  for (int i = 0; i < kRowTiles; ++i) {
    const int tile = (blockIdx.x * kRowTiles + i) * kWarps + threadIdx.x / 32;
    if (tile >= tiles) return;
    const int low = tile * kTile + g, high = low + 8;
    const auto row = [&](int r) {
      return r < p.points ? keys + static_cast<std::int64_t>(r) * D : nullptr;
    };
    RowFragment<D> rows;
    rows.load(row(low), row(high));
#pragma unroll 4
    for (int first = 0; first < D; first += 8) {
      QueryFragment<T, D> columns;
#pragma unroll
      for (int j = 0; j < QueryFragment<T, D>::kChunks; ++j) {
        const int at = 32 * j + 8 * c;
        columns.chunk[j] = D % 32 == 0 || at < D
                               ? *reinterpret_cast<const uint4*>(w + (first + g) * (D + kPad) + at)
                               : make_uint4(0, 0, 0, 0);
      }
      float s[4] = {0, 0, 0, 0};
      rows.dot(columns, s);
      const auto store = [&](int r, float even, float odd) {
        if (r < p.points)
          *reinterpret_cast<std::uint32_t*>(out + static_cast<std::int64_t>(r) * D + first +
                                            2 * c) = Packed<T>::pack(even, odd);
      };
      store(low, s[0], s[1]);
      store(high, s[2], s[3]);
    }
  }
}

template <class T>
void launch_warp(const WarpKeysParams& p, cudaStream_t stream) {
  for_head_dim(p.head_dim, [&]<int kDim>(std::integral_constant<int, kDim>) {
    const int rows = kTile * kWarps * kRowTiles;
    launch({dim3((p.points + rows - 1) / rows, p.pairs), dim3(32 * kWarps),
            static_cast<std::size_t>(kDim) * (kDim + kPad) * sizeof(T), stream},
           warp_kernel<T, kDim>, p);
  });
}

}  // namespace

void warp_keys(const WarpKeysParams& p, cudaStream_t stream) {
  if (p.dtype == DType::kFp16)
    launch_warp<__half>(p, stream);
  else
    launch_warp<__nv_bfloat16>(p, stream);
}

}  // namespace doublep::cuda
