// Second moments that only some estimators read; see core/index/NOTES.md for what each buys.
#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/cost/stages.h"
#include "core/index/cluster_index.h"

namespace doublep {
namespace {

// Keys and values of a cluster's members around their means, float64, a member a row.
struct Centred {
  MatrixD keys, values;
};

Centred centre(const KvHead& head, const ClusterIndex& index, std::int64_t cluster) {
  const auto members = index.members(cluster);
  const auto size = static_cast<Eigen::Index>(members.size());
  Centred rows{MatrixD(size, head.head_dim), MatrixD(size, head.value_dim)};
  const Eigen::RowVectorXd centroid = index.centroids().row(cluster).cast<double>();
  for (Eigen::Index j = 0; j < size; ++j) {
    rows.keys.row(j) = ConstRowF(head.key(members[j]), head.head_dim).cast<double>() - centroid;
    rows.values.row(j) = ConstRowF(head.value(members[j]), head.value_dim).cast<double>();
  }
  // Around their own mean in float64: a mean value rounded to float32 would leave a trace of it.
  const Eigen::RowVectorXd mean = rows.values.colwise().mean();
  rows.values.rowwise() -= mean;
  return rows;
}

}  // namespace

void ClusterIndex::add_moments(const KvHead& head, const IndexMoments& wanted) {
  if (!wanted.per_dimension && !wanted.value_map && !wanted.key_shape) return;
  DP_EXPECTS(head.length >= end_, "moments come from the cache that the index was built on");
  const std::int64_t k = num_clusters(), d = head.head_dim, dv = head.value_dim;
  if (wanted.per_dimension) dimension_variances_ = MatrixF::Zero(k, d), radii_ = VectorF::Zero(k);
  MatrixD cross = MatrixD::Zero(dv, d);
  MatrixD covariance = MatrixD::Zero(d, d);
  double spread = 0;  // sum of s_i u_i, what `cross` and `covariance` are relative to
  for (std::int64_t i = 0; i < k; ++i) {
    if (size(i) == 0) continue;
    const Centred rows = centre(head, *this, i);
    if (wanted.per_dimension) {
      dimension_variances_.row(i) = rows.keys.array().square().colwise().mean().cast<float>();
      radii_[i] = std::nextafter(static_cast<float>(rows.keys.rowwise().norm().maxCoeff()),
                                 std::numeric_limits<float>::infinity());
    }
    if (wanted.value_map) cross.noalias() += rows.values.transpose() * rows.keys;
    if (wanted.key_shape) covariance.noalias() += rows.keys.transpose() * rows.keys;
    spread += rows.keys.squaredNorm() / static_cast<double>(d);
  }
  const double n = static_cast<double>(members_.size()), wide = static_cast<double>(d);
  // Each pass reads keys (and values) once more, in float32.
  Work pass =
      wanted.value_map ? cost::value_map(n, head.head_dim, head.value_dim) : Work{4 * n * wide, 0};
  if (wanted.key_shape) pass.flops += cost::key_shape(n, head.head_dim).flops;
  if (wanted.per_dimension) pass.flops += 3 * n * wide;
  build_work_ += pass;
  if (wanted.value_map)
    value_map_ = spread > 0 ? MatrixF((cross / spread).cast<float>()) : MatrixF::Zero(dv, d);
  if (wanted.key_shape)
    key_shape_ = spread > 0 ? MatrixF((covariance / spread).cast<float>()) : MatrixF::Zero(d, d);
}

}  // namespace doublep
