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
/// lies in shared memory, eight columns a product; W is symmetric, so its columns are rows. Four
/// products take their columns in turns of two, so that a lane ends with eight neighbours of a row:
/// 16 bytes to store, where two of every product would be 4.
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
  const auto load = [&](RowFragment<D>& rows, int i) {
    const int low = ((blockIdx.x * kRowTiles + i) * kWarps + threadIdx.x / 32) * kTile + g;
    const auto row = [&](int r) {
      return i < kRowTiles && r < p.points ? keys + static_cast<std::int64_t>(r) * D : nullptr;
    };
    rows.load(row(low), row(low + 8));
  };
  RowFragment<D> rows, next;
  load(rows, 0);
  for (int i = 0; i < kRowTiles; ++i, rows = next) {
    const int tile = (blockIdx.x * kRowTiles + i) * kWarps + threadIdx.x / 32;
    if (tile >= tiles) return;
    load(next, i + 1);  // on its way meanwhile
#pragma unroll 1
    for (int first = 0; first < D; first += 32) {
      float s[4][4] = {};
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const int column = first + 8 * (g / 2) + 2 * n + g % 2;
        QueryFragment<T, D> columns;
#pragma unroll
        for (int j = 0; j < QueryFragment<T, D>::kChunks; ++j) {
          const int at = 32 * j + 8 * c;
          columns.chunk[j] = (D % 32 == 0 || (at < D && column < D))
                                 ? *reinterpret_cast<const uint4*>(w + column * (D + kPad) + at)
                                 : make_uint4(0, 0, 0, 0);
        }
        rows.dot(columns, s[n]);
      }
      if (D % 32 != 0 && first + 8 * c >= D) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {  // rows g and g + 8
        const int r = tile * kTile + g + 8 * half;
        if (r >= p.points) continue;
        const auto pair_of = [&](int n) {
          return Packed<T>::pack(s[n][2 * half], s[n][2 * half + 1]);
        };
        *reinterpret_cast<uint4*>(out + static_cast<std::int64_t>(r) * D + first + 8 * c) =
            make_uint4(pair_of(0), pair_of(1), pair_of(2), pair_of(3));
      }
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
