// Warp-level matrix products with fragments that come straight from global memory.
//
// The order of a dot product's dimensions is free as long as both sides agree on it, and so is the
// order of an output tile's rows. So lane (g, c) = (lane / 4, lane % 4) reads 16 bytes, i.e. eight
// neighbouring dimensions of one row, and uses them as the k-slices of two m16n8k16 products: no
// shared memory, and every 32-byte sector that is touched is used in full.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace doublep::cuda {

template <class T>
struct Packed;

template <>
struct Packed<__nv_bfloat16> {
  __device__ static void mma(float (&d)[4], std::uint32_t a0, std::uint32_t a1, std::uint32_t a2,
                             std::uint32_t a3, std::uint32_t b0, std::uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  }
  __device__ static std::uint32_t pack(float low, float high) {
    const __nv_bfloat162 v = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const std::uint32_t&>(v);
  }
  __device__ static float2 unpack(std::uint32_t v) {
    return __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(v));
  }
  __device__ static std::uint32_t positive(std::uint32_t v) {
    const __nv_bfloat162 r =
        __hmax2(reinterpret_cast<const __nv_bfloat162&>(v), __floats2bfloat162_rn(0.f, 0.f));
    return reinterpret_cast<const std::uint32_t&>(r);
  }
  __device__ static std::uint32_t negative(std::uint32_t v) {
    const __nv_bfloat162 r =
        __hmin2(reinterpret_cast<const __nv_bfloat162&>(v), __floats2bfloat162_rn(0.f, 0.f));
    return reinterpret_cast<const std::uint32_t&>(r);
  }
  __device__ static __nv_bfloat16 from_float(float v) { return __float2bfloat16_rn(v); }
  __device__ static float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }
};

template <>
struct Packed<__half> {
  __device__ static void mma(float (&d)[4], std::uint32_t a0, std::uint32_t a1, std::uint32_t a2,
                             std::uint32_t a3, std::uint32_t b0, std::uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  }
  __device__ static std::uint32_t pack(float low, float high) {
    const __half2 v = __floats2half2_rn(low, high);
    return reinterpret_cast<const std::uint32_t&>(v);
  }
  __device__ static float2 unpack(std::uint32_t v) {
    return __half22float2(reinterpret_cast<const __half2&>(v));
  }
  __device__ static std::uint32_t positive(std::uint32_t v) {
    const __half2 r = __hmax2(reinterpret_cast<const __half2&>(v), __floats2half2_rn(0.f, 0.f));
    return reinterpret_cast<const std::uint32_t&>(r);
  }
  __device__ static std::uint32_t negative(std::uint32_t v) {
    const __half2 r = __hmin2(reinterpret_cast<const __half2&>(v), __floats2half2_rn(0.f, 0.f));
    return reinterpret_cast<const std::uint32_t&>(r);
  }
  __device__ static __half from_float(float v) { return __float2half_rn(v); }
  __device__ static float to_float(__half v) { return __half2float(v); }
};

template <>
struct Packed<float> {
  __device__ static float from_float(float v) { return v; }
  __device__ static float to_float(float v) { return v; }
};

/// Transposes an 8x8 tile of 16-bit elements, spread over the warp as a product's C fragment.
__device__ inline std::uint32_t transpose8x8(std::uint32_t v) {
  std::uint32_t r;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(v));
  return r;
}

/// 16 bytes of global memory, or 8, that are read once: kept out of L1.
struct LoadOnce {
  __device__ static void load(uint4& v, const void* p) {
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
  }
  __device__ static void load(uint2& v, const void* p) {
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0,%1}, [%2];"
                 : "=r"(v.x), "=r"(v.y)
                 : "l"(p));
  }
};
/// 16 bytes of shared memory, or 8.
struct LoadShared {
  template <class Raw>
  __device__ static void load(Raw& v, const void* p) {
    v = *static_cast<const Raw*>(p);
  }
};

__device__ inline std::uint32_t word_of(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}
__device__ inline std::uint32_t word_of(const uint2& v, int i) { return i == 0 ? v.x : v.y; }

/// Eight query dimensions per lane and 32-dimension chunk: the B fragments of head g = lane / 4.
template <class T, int D>
struct QueryFragment {
  static constexpr int kChunks = (D + 31) / 32;
  uint4 chunk[kChunks];

  /// q: [group, D]; heads at or beyond `group` are zero.
  __device__ void load(const T* q, int group) {
    const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
    for (int j = 0; j < kChunks; ++j) {
      const bool inside = g < group && 32 * j + 8 * c < D;
      chunk[j] = inside ? *reinterpret_cast<const uint4*>(q + g * D + 32 * j + 8 * c)
                        : make_uint4(0, 0, 0, 0);
    }
  }
  /// |q|^2 of heads 2c and 2c+1.
  __device__ float2 squared_norms() const {
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kChunks; ++j) {
      const std::uint32_t words[4] = {chunk[j].x, chunk[j].y, chunk[j].z, chunk[j].w};
#pragma unroll
      for (std::uint32_t word : words) {
        const float2 v = Packed<T>::unpack(word);
        sum += v.x * v.x + v.y * v.y;
      }
    }
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    const int c = threadIdx.x % 4;
    return {__shfl_sync(~0u, sum, 8 * c), __shfl_sync(~0u, sum, 8 * c + 4)};
  }
};

/// Rows g and g + 8 of a 16-row tile, dimensions as in QueryFragment.
template <int D>
struct RowFragment {
  static constexpr int kChunks = (D + 31) / 32;
  uint4 low[kChunks], high[kChunks];

  /// Null rows are zero. Pointers are to the rows' first elements.
  template <class Load = LoadOnce>
  __device__ void load(const std::uint16_t* row_low, const std::uint16_t* row_high) {
    const int c = threadIdx.x % 4;
#pragma unroll
    for (int j = 0; j < kChunks; ++j) {
      const int at = 32 * j + 8 * c;
      const bool inside = D % 32 == 0 || at < D;
      low[j] = high[j] = {};
      if (row_low && inside) Load::load(low[j], row_low + at);
      if (row_high && inside) Load::load(high[j], row_high + at);
    }
  }
  /// s += rows . queries: s[0], s[1] = row g, heads 2c, 2c+1; s[2], s[3] = row g + 8.
  template <class T>
  __device__ void dot(const QueryFragment<T, D>& q, float (&s)[4]) const {
#pragma unroll
    for (int j = 0; j < kChunks; ++j) {
      const uint4 l = low[j], h = high[j];
      Packed<T>::mma(s, l.x, h.x, l.y, h.y, q.chunk[j].x, q.chunk[j].y);
      Packed<T>::mma(s, l.z, h.z, l.w, h.w, q.chunk[j].z, q.chunk[j].w);
    }
  }
};

/// Rows 2c, 2c+1, 2c+8, 2c+9 of a 16-row tile: the transposed operand of weights x values. A lane
/// has eight neighbouring dimensions of every 64 or, kWide, 16 of every 128.
template <int D, bool kWide = false>
struct ValueFragment {
  static constexpr int kChunks = (D + 63) / 64;
  uint4 row[4][kChunks];

  template <class Load = LoadOnce>
  __device__ void load(int i, const std::uint16_t* values) {
    const int g = threadIdx.x % 32 / 4;
#pragma unroll
    for (int j = 0; j < kChunks; ++j) {
      const int at = kWide ? 128 * (j / 2) + 16 * g + 8 * (j % 2) : 64 * j + 8 * g;
      row[i][j] = {};
      if (values && (D % 64 == 0 || at < D)) Load::load(row[i][j], values + at);
    }
  }
};

/// Softmax weights, laid out as dot() leaves logits, as an operand. They go in twice, rounded and
/// remainder, so that 16-bit rounding of a weight does not show in the output.
template <class T>
struct WeightFragment {
  std::uint32_t low, high, low_rest, high_rest;

  __device__ explicit WeightFragment(const float (&p)[4]) {
    low = Packed<T>::pack(p[0], p[1]), high = Packed<T>::pack(p[2], p[3]);
    const float2 l = Packed<T>::unpack(low), h = Packed<T>::unpack(high);
    low = transpose8x8(low), high = transpose8x8(high);
    low_rest = transpose8x8(Packed<T>::pack(p[0] - l.x, p[1] - l.y));
    high_rest = transpose8x8(Packed<T>::pack(p[2] - h.x, p[3] - h.y));
  }
};

/// Output accumulators: o[n][0..1] = dimension dim(n) of heads 2c, 2c+1; o[n][2..3] = dim(n) + 1.
template <class T, int D, bool kWide = false>
struct OutputFragment {
  static constexpr int kProducts = (D + 63) / 64 * 4;
  float o[kProducts][4];

  __device__ static int dim(int n) {
    const int g = threadIdx.x % 32 / 4;
    return kWide ? 128 * (n / 8) + 16 * g + 2 * (n % 8) : 64 * (n / 4) + 8 * g + 2 * (n % 4);
  }

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < kProducts; ++i) o[i][0] = o[i][1] = o[i][2] = o[i][3] = 0;
  }
  __device__ void scale(float even, float odd) {
#pragma unroll
    for (int i = 0; i < kProducts; ++i) {
      o[i][0] *= even, o[i][1] *= odd, o[i][2] *= even, o[i][3] *= odd;
    }
  }
  /// o += p v with p as dot() lays it out.
  __device__ void add(const float (&p)[4], const ValueFragment<D, kWide>& v) {
    const WeightFragment<T> w(p);
#pragma unroll
    for (int j = 0; j < ValueFragment<D>::kChunks; ++j) {
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        const auto word = [&](int i) { return word_of(v.row[i][j], m); };
        const std::uint32_t a0 = __byte_perm(word(0), word(1), 0x5410);
        const std::uint32_t a1 = __byte_perm(word(0), word(1), 0x7632);
        const std::uint32_t a2 = __byte_perm(word(2), word(3), 0x5410);
        const std::uint32_t a3 = __byte_perm(word(2), word(3), 0x7632);
        Packed<T>::mma(o[4 * j + m], a0, a1, a2, a3, w.low, w.high);
        Packed<T>::mma(o[4 * j + m], a0, a1, a2, a3, w.low_rest, w.high_rest);
      }
    }
  }
};

template <class T>
__device__ float2 load_pair(const T* row, int pair) {
  if constexpr (sizeof(T) == 2)
    return Packed<T>::unpack(reinterpret_cast<const std::uint32_t*>(row)[pair]);
  else
    return reinterpret_cast<const float2*>(row)[pair];
}
template <class T>
__device__ void store_pair(T* row, int pair, float2 v) {
  if constexpr (sizeof(T) == 2)
    reinterpret_cast<std::uint32_t*>(row)[pair] = Packed<T>::pack(v.x, v.y);
  else
    reinterpret_cast<float2*>(row)[pair] = v;
}

__device__ inline float warp_sum(float v) {
  for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(~0u, v, d);
  return v;
}

}  // namespace doublep::cuda
