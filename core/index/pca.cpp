#include "core/index/pca.h"

#include <Eigen/Eigenvalues>
#include <algorithm>

namespace doublep {

MatrixD principal_components(const Eigen::Ref<const MatrixF>& rows, Eigen::Index rank) {
  const Eigen::Index n = rows.rows(), d = rows.cols();
  constexpr Eigen::Index kBlock = 256;  // rows widened at a time
  Eigen::RowVectorXd mean = Eigen::RowVectorXd::Zero(d);
  for (Eigen::Index j = 0; j < n; ++j) mean += rows.row(j).cast<double>();
  mean /= static_cast<double>(std::max<Eigen::Index>(n, 1));
  MatrixD covariance = MatrixD::Zero(d, d);
  for (Eigen::Index begin = 0; begin < n; begin += kBlock) {
    const Eigen::Index count = std::min(kBlock, n - begin);
    const MatrixD centred = rows.middleRows(begin, count).cast<double>().rowwise() - mean;
    covariance.noalias() += centred.transpose() * centred;
  }
  const Eigen::SelfAdjointEigenSolver<MatrixD> solver(covariance);  // ascending eigenvalues
  return solver.eigenvectors().rightCols(std::min(rank, d)).rowwise().reverse();
}

}  // namespace doublep
