// Eigenvalues and eigenvectors of a symmetric matrix, for all who want them: a compiler spends ten
// seconds on Eigen's solver wherever it is instantiated.
#pragma once

#include "core/base/matrix.h"

namespace doublep {

struct SymmetricEigen {
  VectorD values;           ///< [d], ascending
  Eigen::MatrixXd vectors;  ///< [d, d], orthonormal columns in the order of `values`; column-major,
                            ///< as Eigen hands them out
};

/// Of a finite symmetric matrix [d, d], whose lower triangle is read: Householder's tridiagonal
/// form and implicit QR steps (Golub and Van Loan, Matrix Computations, section 8.3).
SymmetricEigen symmetric_eigen(const MatrixD& matrix);

}  // namespace doublep
