// The inner loops of an assignment to the nearest centroid, built for several instruction sets: one
// program takes the widest that its machine has. Plain loops over vectors, without Eigen or
// anything of the standard library that a linker could take for the rest of the program.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace doublep {

/// Scores of a point p against every centroid c: |c|^2 / 2 - p.c, in float32; the lowest is that of
/// the nearest.
struct NearestKernel {
  const char* level;   ///< "base" (what all is compiled for) or "avx512"
  std::int64_t panel;  ///< centroids side by side; the last panel is filled up
  /// packed[panel, d, centroid] from rows [clusters, dim]; rows that are not there are 0.
  void (*pack)(const float* centroids, std::int64_t clusters, std::int64_t dim, float* packed);
  /// scores [rows, panels * panel] of points [rows, stride]; half_norms [panels * panel].
  void (*scores)(const float* points, std::int64_t stride, std::int64_t rows, std::int64_t dim,
                 const float* packed, const float* half_norms, std::int64_t panels, float* scores);
  /// Of a row of `size` scores, whole panels: the lowest, how many are not above lowest + slack,
  /// and their places joined by "or": the place, where it is one.
  void (*scan)(const float* row, std::int64_t size, float slack, float* lowest, std::int64_t* count,
               std::int64_t* place);
};

/// Those that this machine can run, the widest last.
const std::vector<NearestKernel>& nearest_kernels();

/// The widest, or the one that the environment variable DOUBLEP_SIMD names. Throws InputError where
/// there is none of that name. Every level gives the same assignments: what float32 cannot settle
/// is settled in float64 (kmeans.cpp).
const NearestKernel& nearest_kernel();

}  // namespace doublep
