// Attention mass of clusters from their centroids.
#pragma once

#include <span>

#include "core/base/matrix.h"
#include "core/base/parameters.h"
#include "core/cache/query_block.h"
#include "core/index/cluster_index.h"
#include "core/selection/selection.h"

namespace doublep {

/// jensen: z = s exp(q.C scale), never above the true mass (arXiv 2602.05191).
/// second_order: a Gaussian cluster of isotropic variance u has
/// z = s exp(q.C scale + u |q|^2 scale^2 / 2).
/// diagonal: the same with a variance per dimension, sum_d q_d^2 u_d scale^2 / 2, but never more
/// than |q| r scale for a cluster of radius r: no member's logit exceeds the centroid's by more, so
/// z stays below s exp(largest logit that the cluster could hold) and cannot run away.
enum class Estimator { kJensen, kSecondOrder, kDiagonal };
ParamSpec estimator_param();
Estimator parse_estimator(const Parameters& parameters);

/// log z of every cluster: [group size, clusters]; -infinity for a cluster without members.
/// kDiagonal needs an index with IndexMoments::per_dimension.
MatrixD estimate_log_masses(const ClusterIndex& index, const QueryGroup& group,
                            Estimator estimator);

/// Adds the estimate stage's cost: every centroid and size, and what the estimator reads beside
/// them (second_order: a float; diagonal: a vector and a float), once a group.
void charge_estimate(const ClusterIndex& index, const QueryGroup& group, Estimator estimator,
                     KvDtype dtype, GroupSelection& out);

}  // namespace doublep
