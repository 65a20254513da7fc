// Keys seen through a few directions: a short label per token, whose dot product with the projected
// query stands for the full one. Channels (Double Sparsity) and principal components (Loki) alike.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/matrix.h"
#include "core/cache/kv_cache.h"
#include "core/selection/selection.h"

namespace doublep {

/// The first `rank` eigenvectors of the rows' covariance, largest eigenvalue first: orthonormal
/// columns, float64 [d, rank]; rank is clipped to d. One row, or equal rows, yield some orthonormal
/// basis. float64 throughout; the sign of a column is free.
MatrixD principal_components(const Eigen::Ref<const MatrixF>& rows, Eigen::Index rank);

class ProjectedKeys {
 public:
  /// Labels in the cache's type; or, with `bits` (1 .. 8) above 0, quantised per token
  /// (core/index/quantiser.h).
  explicit ProjectedKeys(KvDtype dtype, int bits = 0) : dtype_(dtype), bits_(bits) {}

  /// Directions: columns of `basis` [d, r]. Labels made before are dropped.
  void set_basis(MatrixD basis);
  /// Projects the tokens that joined since the last call.
  void extend(const KvHead& cache);

  /// scale (q basis).(k basis) of every token: float64 [group size, tokens]; with an orthonormal
  /// basis of d directions the logit itself, to the rounding of float32 labels.
  MatrixD scores(const QueryGroup& group) const;
  /// Labels read once a group; the query projected and multiplied with each.
  void charge(GroupSelection& out) const;
  IndexCost cost() const;

 private:
  std::int64_t rank() const { return basis_.cols(); }
  double label_bytes() const;  // of one token
  KvDtype dtype_;
  int bits_;
  MatrixD basis_;
  double projection_flops_ = 0;  // per vector; picking channels costs none
  std::vector<float> labels_;    // [tokens, r], as they are remembered
  std::int64_t length_ = 0;
  Work build_;
};

}  // namespace doublep
