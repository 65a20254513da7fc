#include "core/base/symmetric_eigen.h"

#include <Eigen/Eigenvalues>

namespace doublep {

SymmetricEigen symmetric_eigen(const MatrixD& matrix) {
  const Eigen::SelfAdjointEigenSolver<MatrixD> solver(matrix);
  return {solver.eigenvalues(), solver.eigenvectors()};
}

}  // namespace doublep
