// Products with rows in E4M3 (core/base/e4m3.h): widened to fp16, which has all its numbers, two at
// a time. A lane takes 16 neighbouring dimensions of a row of keys (see cuda/common/mma.cuh: their
// order is free), and of a row of values where they are 128 or a multiple.
#pragma once

#include <type_traits>

#include "cuda/common/mma.cuh"

namespace doublep::cuda {

/// From sm_89 on one instruction. Before, sign and magnitude are put where fp16 has them, which is
/// the number over 2^8, subnormals too: the exponents' biases are 7 and 15.
struct E4m3ToHalf {
  std::uint32_t low, high;  ///< the lower and the upper two of four stored numbers

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  static constexpr float kUnit = 1;  ///< of what it returns
  __device__ explicit E4m3ToHalf(std::uint32_t v) {
    asm("{\n.reg .b16 l, h;\nmov.b32 {l, h}, %2;\n"
        "cvt.rn.f16x2.e4m3x2 %0, l;\ncvt.rn.f16x2.e4m3x2 %1, h;\n}"
        : "=r"(low), "=r"(high)
        : "r"(v));
  }
#else
  static constexpr float kUnit = 256;
  __device__ explicit E4m3ToHalf(std::uint32_t v) {
    low = bits(__byte_perm(v, 0, 0x1404)), high = bits(__byte_perm(v, 0, 0x3424));
  }

 private:
  /// Two stored numbers, each the upper half of a 16-bit one.
  __device__ static std::uint32_t bits(std::uint32_t v) {
    const std::uint32_t magnitude = (v >> 1) & 0x3F803F80u;
    const std::uint32_t no_number = __vcmpeq2(magnitude, 0x3F803F80u) & 0x7E007E00u;
    return (v & 0x80008000u) | magnitude | no_number;
  }
#endif
};

/// A product that is added to nothing.
__device__ inline void first_product(float (&d)[4], std::uint32_t a0, std::uint32_t a1,
                                     std::uint32_t a2, std::uint32_t a3, std::uint32_t b0,
                                     std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%10,%10,%10,%10};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1), "f"(0.f));
}

/// Query dimensions per lane and 64-dimension chunk: the B fragments of head g = lane / 4, in fp16
/// times the power of two with which the head's largest is 2^13 to 2^14: what is lost is below
/// 2^-38 of that.
template <class T, int D>
struct PackedQueryFragment {
  static constexpr int kChunks = (D + 63) / 64;
  std::uint32_t words[kChunks][8];
  float unit[2];  ///< what one of a product stands for, of heads 2c and 2c + 1

  /// q: [group, D]; heads at or beyond `group` are zero.
  __device__ void load(const T* q, int group) {
    const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
    float largest = 0;
#pragma unroll
    for (int j = 0; j < kChunks; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int at = 64 * j + 16 * c + 8 * half;
        const uint4 v = g < group && at < D ? *reinterpret_cast<const uint4*>(q + g * D + at)
                                            : make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float2 f = Packed<T>::unpack(word_of(v, i));
          words[j][4 * half + i] = word_of(v, i);
          largest = fmaxf(largest, fmaxf(fabsf(f.x), fabsf(f.y)));
        }
      }
#pragma unroll
    for (int lanes = 1; lanes < 4; lanes *= 2)
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, lanes));
    const int exponent = min(max(static_cast<int>(__float_as_uint(largest) >> 23), 20), 250);
    const float scale = __uint_as_float((127 + 13 + 127 - exponent) << 23);
    const float mine = __uint_as_float((exponent - 13) << 23) * E4m3ToHalf::kUnit;
    unit[0] = __shfl_sync(~0u, mine, 8 * c), unit[1] = __shfl_sync(~0u, mine, 8 * c + 4);
#pragma unroll
    for (auto& chunk : words)
#pragma unroll
      for (std::uint32_t& word : chunk) {
        const float2 f = Packed<T>::unpack(word);
        word = Packed<__half>::pack(f.x * scale, f.y * scale);
      }
  }
};

/// Rows g and g + 8 of a 16-row tile of keys, dimensions as in PackedQueryFragment.
template <int D>
struct PackedRowFragment {
  static constexpr int kChunks = (D + 63) / 64;
  uint4 low[kChunks], high[kChunks];

  /// Null rows are zero; kAll: there are none.
  template <class Load, bool kAll>
  __device__ void load(const std::uint8_t* row_low, const std::uint8_t* row_high) {
#pragma unroll
    for (int j = 0; j < kChunks; ++j) {
      const int at = 64 * j + 16 * (threadIdx.x % 4);
      const bool inside = D % 64 == 0 || at < D;
      low[j] = high[j] = {};
      if ((kAll || row_low) && inside) Load::load(low[j], row_low + at);
      if ((kAll || row_high) && inside) Load::load(high[j], row_high + at);
    }
  }
  /// s = rows . queries, as RowFragment::dot lays them out, in units of q. Two sums, for each waits
  /// for itself.
  template <class T>
  __device__ void dot(const PackedQueryFragment<T, D>& q, float (&s)[4]) const {
    float other[4];
#pragma unroll
    for (int j = 0; j < kChunks; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const E4m3ToHalf l(word_of(low[j], i)), h(word_of(high[j], i));
        (j == 0 && i < 2 ? first_product : Packed<__half>::mma)(i % 2 ? other : s, l.low, h.low,
                                                                l.high, h.high, q.words[j][2 * i],
                                                                q.words[j][2 * i + 1]);
      }
#pragma unroll
    for (int i = 0; i < 4; ++i) s[i] += other[i];
  }
};

/// Rows 2c, 2c+1, 2c+8, 2c+9 of a 16-row tile of values, dimensions as in ValueFragment.
template <int D, bool kWide>
struct PackedValueFragment {
  static constexpr int kSpan = kWide ? 128 : 64, kChunks = (D + kSpan - 1) / kSpan;
  std::conditional_t<kWide, uint4, uint2> row[4][kChunks];

  template <class Load, bool kAll>
  __device__ void load(int i, const std::uint8_t* values) {
#pragma unroll
    for (int j = 0; j < kChunks; ++j) {
      const int at = kSpan * j + kSpan / 8 * (threadIdx.x % 32 / 4);
      row[i][j] = {};
      if ((kAll || values) && (D % kSpan == 0 || at < D)) Load::load(row[i][j], values + at);
    }
  }
};

/// to += step * p v with p as dot() lays it out.
template <class T, int D, bool kWide>
__device__ void add_packed(OutputFragment<T, D, kWide>& to, const float (&p)[4],
                           const PackedValueFragment<D, kWide>& v, float step) {
  using Half = Packed<__half>;
  constexpr int kWords = kWide ? 4 : 2;
  const WeightFragment<__half> w(p);
  step *= E4m3ToHalf::kUnit;
#pragma unroll
  for (int j = 0; j < PackedValueFragment<D, kWide>::kChunks; ++j)
#pragma unroll
    for (int m = 0; m < 2 * kWords; ++m) {
      const int take = m % 2 == 0 ? 0x5140 : 0x7362;  // two dimensions of two rows
      const auto pairs = [&](int i) {
        return __byte_perm(word_of(v.row[i][j], m / 2), word_of(v.row[i + 1][j], m / 2), take);
      };
      const E4m3ToHalf x(pairs(0)), y(pairs(2));
      float d[4];
      first_product(d, x.low, x.high, y.low, y.high, w.low, w.high);
      Half::mma(d, x.low, x.high, y.low, y.high, w.low_rest, w.high_rest);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float& o = to.o[2 * kWords * j + m][i];
        o = fmaf(step, d[i], o);
      }
    }
}

}  // namespace doublep::cuda
