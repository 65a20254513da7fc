#include "core/index/mass_estimate.h"

#include <cmath>
#include <limits>

#include "core/attention/logits.h"

namespace doublep {

ParamSpec estimator_param() {
  return choice("estimator", "jensen", {"jensen", "second_order"},
                "cluster mass from the centroid alone, or with the keys' variance");
}

Estimator parse_estimator(const Parameters& parameters) {
  return parameters.choice("estimator") == "jensen" ? Estimator::kJensen : Estimator::kSecondOrder;
}

MatrixD estimate_log_masses(const ClusterIndex& index, const QueryGroup& group,
                            Estimator estimator) {
  MatrixD log_masses = exact_logits(group, index.centroids().data(), index.num_clusters());
  Eigen::VectorXd spread = Eigen::VectorXd::Zero(group.size);
  if (estimator == Estimator::kSecondOrder)
    for (int g = 0; g < group.size; ++g)
      spread[g] = 0.5 * group.softmax_scale * group.softmax_scale *
                  ConstRowF(group.query(g), group.head_dim).cast<double>().squaredNorm();
  for (std::int64_t i = 0; i < index.num_clusters(); ++i) {
    const double size = static_cast<double>(index.size(i));
    const double log_size = size > 0 ? std::log(size) : -std::numeric_limits<double>::infinity();
    for (int g = 0; g < group.size; ++g)
      log_masses(g, i) += log_size + spread[g] * index.variances()[i];
  }
  return log_masses;
}

void charge_estimate(const ClusterIndex& index, const QueryGroup& group, Estimator estimator,
                     KvDtype dtype, GroupSelection& out) {
  const double k = static_cast<double>(index.num_clusters());
  const bool second_order = estimator == Estimator::kSecondOrder;
  out.charge(Stage::kEstimate, k * (group.head_dim * bytes_of(dtype) + 4 + (second_order ? 4 : 0)),
             k * (2 * group.head_dim + (second_order ? 4 : 2)));
}

}  // namespace doublep
