// Principal components of keys.
#pragma once

#include "core/base/matrix.h"

namespace doublep {

/// The first `rank` eigenvectors of the rows' covariance, largest eigenvalue first: orthonormal
/// columns, float64 [d, rank]; rank is clipped to d. One row, or equal rows, yield some orthonormal
/// basis. float64 throughout; the sign of a column is free.
MatrixD principal_components(const Eigen::Ref<const MatrixF>& rows, Eigen::Index rank);

}  // namespace doublep
