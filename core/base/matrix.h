// The Eigen types of the reference: everything is row-major, one token, centroid or head a row.
#pragma once

#include <Eigen/Core>
#include <cstdint>

namespace doublep {

using MatrixF = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using MatrixD = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using VectorF = Eigen::VectorXf;
using VectorD = Eigen::VectorXd;
using ConstMapF = Eigen::Map<const MatrixF>;
using ConstRowF = Eigen::Map<const Eigen::RowVectorXf>;

}  // namespace doublep
