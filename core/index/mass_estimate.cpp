#include "core/index/mass_estimate.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/cache/logits.h"
#include "core/cost/stages.h"

namespace doublep {
namespace {

// What the estimator adds to the centroid's logit: [group size, clusters].
MatrixD corrections(const ClusterIndex& index, const QueryGroup& group, Estimator estimator) {
  if (estimator == Estimator::kPooled) {
    DP_ASSERT(index.key_shape().rows() == group.head_dim, "the index was built with its key shape");
    MatrixD added = logit_variances(index, group);
    for (std::int64_t i = 0; i < index.num_clusters(); ++i)
      for (int h = 0; h < group.size; ++h)
        added(h, i) = log_mean_weight(added(h, i), static_cast<double>(index.size(i)));
    return added;
  }
  const MatrixD queries =
      ConstMapF(group.queries, group.size, group.head_dim).cast<double>() * group.softmax_scale;
  if (estimator == Estimator::kSecondOrder)
    return 0.5 * queries.rowwise().squaredNorm() * index.variances().cast<double>().transpose();
  DP_EXPECTS(index.dimension_variances().rows() == index.num_clusters(),
             "the index was built with the moments that its estimator reads");
  MatrixD added =
      queries.array().square().matrix() * index.dimension_variances().cast<double>().transpose();
  const MatrixD reach = queries.rowwise().norm() * index.radii().cast<double>().transpose();
  return (0.5 * added).cwiseMin(reach);
}

}  // namespace

ParamSpec estimator_param() {
  return choice(
      "estimator", "jensen", {"jensen", "second_order", "diagonal", "pooled"},
      "cluster mass from the centroid alone, with the keys' variance, one per dimension, or the "
      "covariance that the head's clusters share");
}

Estimator parse_estimator(const Parameters& parameters) {
  const auto& name = parameters.choice("estimator");
  return name == "jensen"     ? Estimator::kJensen
         : name == "diagonal" ? Estimator::kDiagonal
         : name == "pooled"   ? Estimator::kPooled
                              : Estimator::kSecondOrder;
}

VectorD unit_logit_variances(const ClusterIndex& index, const QueryGroup& group) {
  const MatrixD queries =
      ConstMapF(group.queries, group.size, group.head_dim).cast<double>() * group.softmax_scale;
  if (index.key_shape().rows() == 0) return queries.rowwise().squaredNorm();
  // Rounding may take the form of a covariance a hair below zero.
  return (queries * index.key_shape().cast<double>())
      .cwiseProduct(queries)
      .rowwise()
      .sum()
      .cwiseMax(0);
}

MatrixD logit_variances(const ClusterIndex& index, const QueryGroup& group) {
  return unit_logit_variances(index, group) * index.variances().cast<double>().transpose();
}

double log_mean_weight(double variance, double size) {
  const double limit = std::log(std::max(1.0, size));
  return variance <= 2 * limit ? variance / 2 : std::sqrt(2 * variance * limit) - limit;
}

MatrixD estimate_log_masses(const ClusterIndex& index, const QueryGroup& group,
                            Estimator estimator) {
  MatrixD log_masses = exact_logits(group, index.centroids().data(), index.num_clusters());
  if (estimator != Estimator::kJensen) log_masses += corrections(index, group, estimator);
  for (std::int64_t i = 0; i < index.num_clusters(); ++i) {
    const double size = static_cast<double>(index.size(i));
    log_masses.col(i).array() +=
        size > 0 ? std::log(size) : -std::numeric_limits<double>::infinity();
  }
  return log_masses;
}

void charge_estimate(const ClusterIndex& index, const QueryGroup& group, Estimator estimator,
                     KvDtype dtype, GroupSelection& out) {
  const double k = static_cast<double>(index.num_clusters());
  Work work = cost::weigh_clusters(k, group.head_dim, dtype);
  if (estimator == Estimator::kSecondOrder) work += cost::correct_by_variance(k);
  if (estimator == Estimator::kDiagonal)
    work += cost::correct_by_dimension(k, group.head_dim, dtype);
  if (estimator == Estimator::kPooled) work += cost::correct_by_shape(k, group.head_dim, dtype);
  out.charge(Stage::kEstimate, work);
}

}  // namespace doublep
