// SimHash (Charikar, 2002): a vector's bits are the sides of random hyperplanes it lies on. Two
// vectors at an angle t agree in a bit with probability 1 - t / pi.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/matrix.h"
#include "core/base/random.h"

namespace doublep {

class SimHash {
 public:
  SimHash() = default;
  /// `tables` codes of `bits` (1 .. 16) bits for vectors of `head_dim`, Gaussian hyperplanes.
  SimHash(int bits, int tables, int head_dim, const CounterRng& rng);

  int bits() const { return bits_; }
  int tables() const { return tables_; }
  /// Codes of every row of vectors [n, d]: [tables, n]. A side is settled in float64 where float32
  /// could not; a vector on the plane lies above it.
  std::vector<std::uint16_t> codes(const Eigen::Ref<const MatrixF>& vectors) const;
  double flops_per_vector() const { return 2.0 * static_cast<double>(planes_.size()); }

 private:
  int bits_ = 0, tables_ = 0;
  MatrixF planes_;  // [tables * bits, d]
  VectorF norms_;
};

/// Probability that two vectors of the given cosine share their code in at least two of the tables.
double two_collisions(double cosine, int bits, int tables);

}  // namespace doublep
