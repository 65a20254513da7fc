// Compiled once for each level (CMakeLists.txt): DOUBLEP_LEVEL names it.
#include <cstring>

#include "core/index/nearest_kernel.h"

#ifndef DOUBLEP_LEVEL
#define DOUBLEP_LEVEL base
#endif
#define DOUBLEP_TEXT_OF(name) #name
#define DOUBLEP_TEXT(name) DOUBLEP_TEXT_OF(name)
#define DOUBLEP_JOINED_OF(a, b) a##b
#define DOUBLEP_JOINED(a, b) DOUBLEP_JOINED_OF(a, b)

namespace doublep {
namespace {

#ifdef __AVX512F__
constexpr std::int64_t kLanes = 16;
#else
constexpr std::int64_t kLanes = 8;
#endif
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));
using Ints = std::int32_t __attribute__((vector_size(kLanes * sizeof(float))));

// A tile of six points and two registers of centroids: twelve sums hide the latency of a
// multiply-add, and sixteen registers hold all of it.
constexpr std::int64_t kRows = 6, kColumns = 2, kPanel = kColumns * kLanes;

inline Lanes load(const float* p) {
  Lanes v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

void pack(const float* centroids, std::int64_t clusters, std::int64_t dim, float* packed) {
  for (std::int64_t first = 0; first < clusters; first += kPanel)
    for (std::int64_t i = 0; i < dim; ++i)
      for (std::int64_t c = first; c < first + kPanel; ++c)
        *packed++ = c < clusters ? centroids[c * dim + i] : 0;
}

template <std::int64_t Rows>
void tile(const float* points, std::int64_t stride, std::int64_t dim, const float* panel,
          const float* half_norms, float* scores, std::int64_t width) {
  Lanes sums[Rows][kColumns] = {};
  for (std::int64_t i = 0; i < dim; ++i) {
    Lanes centroids[kColumns];
#pragma GCC unroll 2
    for (std::int64_t c = 0; c < kColumns; ++c)
      centroids[c] = load(panel + i * kPanel + c * kLanes);
#pragma GCC unroll 6
    for (std::int64_t r = 0; r < Rows; ++r)
#pragma GCC unroll 2
      for (std::int64_t c = 0; c < kColumns; ++c)
        sums[r][c] += points[r * stride + i] * centroids[c];
  }
#pragma GCC unroll 6
  for (std::int64_t r = 0; r < Rows; ++r)
#pragma GCC unroll 2
    for (std::int64_t c = 0; c < kColumns; ++c) {
      const Lanes score = load(half_norms + c * kLanes) - sums[r][c];
      std::memcpy(scores + r * width + c * kLanes, &score, sizeof score);
    }
}

void scores(const float* points, std::int64_t stride, std::int64_t rows, std::int64_t dim,
            const float* packed, const float* half_norms, std::int64_t panels, float* out) {
  const std::int64_t width = panels * kPanel;
  for (std::int64_t p = 0; p < panels; ++p) {  // a panel stays in the L1 cache
    const float *panel = packed + p * dim * kPanel, *norms = half_norms + p * kPanel;
    std::int64_t r = 0;
    for (; r + kRows <= rows; r += kRows)
      tile<kRows>(points + r * stride, stride, dim, panel, norms, out + r * width + p * kPanel,
                  width);
    for (; r < rows; ++r)
      tile<1>(points + r * stride, stride, dim, panel, norms, out + r * width + p * kPanel, width);
  }
}

void scan(const float* row, std::int64_t size, float slack, float* lowest, std::int64_t* count,
          std::int64_t* place) {
  Lanes low = load(row);
  for (std::int64_t i = kLanes; i < size; i += kLanes) {
    const Lanes v = load(row + i);
    low = v < low ? v : low;
  }
  float best = low[0];
  for (std::int64_t l = 1; l < kLanes; ++l) best = low[l] < best ? low[l] : best;
  const Lanes doubt = Lanes{} + (best + slack);
  Ints here, counts = {}, places = {};
  for (std::int32_t l = 0; l < kLanes; ++l) here[l] = l;
  for (std::int64_t i = 0; i < size; i += kLanes, here += static_cast<std::int32_t>(kLanes)) {
    const Ints candidates = load(row + i) <= doubt;  // all bits, or none
    counts -= candidates, places |= here & candidates;
  }
  *lowest = best, *count = 0, *place = 0;
  for (std::int64_t l = 0; l < kLanes; ++l) *count += counts[l], *place |= places[l];
}

}  // namespace

NearestKernel DOUBLEP_JOINED(nearest_kernel_, DOUBLEP_LEVEL)();
NearestKernel DOUBLEP_JOINED(nearest_kernel_, DOUBLEP_LEVEL)() {
  return {DOUBLEP_TEXT(DOUBLEP_LEVEL), kPanel, pack, scores, scan};
}

}  // namespace doublep
