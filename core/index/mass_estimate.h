// Attention mass of clusters from their centroids.
#pragma once

#include <span>

#include "core/base/matrix.h"
#include "core/cache/query_block.h"
#include "core/index/cluster_index.h"
#include "core/policy/policy.h"

namespace doublep {

/// jensen: z = s exp(q.C scale), never above the true mass (arXiv 2602.05191).
/// second_order: a Gaussian cluster of isotropic variance u has
/// z = s exp(q.C scale + u |q|^2 scale^2 / 2).
enum class Estimator { kJensen, kSecondOrder };
ParamSpec estimator_param();
Estimator parse_estimator(const Parameters& parameters);

/// log z of every cluster: [group size, clusters]; -infinity for a cluster without members.
MatrixD estimate_log_masses(const ClusterIndex& index, const QueryGroup& group,
                            Estimator estimator);

/// Adds the estimate stage's cost: every centroid, size and (second_order) variance once a group.
void charge_estimate(const ClusterIndex& index, const QueryGroup& group, Estimator estimator,
                     KvDtype dtype, GroupSelection& out);

}  // namespace doublep
