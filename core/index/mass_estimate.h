// Attention mass of clusters from their centroids.
#pragma once

#include <span>

#include "core/base/matrix.h"
#include "core/base/parameters.h"
#include "core/cache/kv_cache.h"
#include "core/index/cluster_index.h"
#include "core/selection/selection.h"

namespace doublep {

/// jensen: z = s exp(q.C scale), never above the true mass (arXiv 2602.05191).
/// second_order: a Gaussian cluster of isotropic variance u has
/// z = s exp(q.C scale + u |q|^2 scale^2 / 2).
/// diagonal: the same with a variance per dimension, sum_d q_d^2 u_d scale^2 / 2, but never more
/// than |q| r scale for a cluster of radius r: no member's logit exceeds the centroid's by more, so
/// z stays below s exp(largest logit that the cluster could hold) and cannot run away.
/// pooled: a Gaussian cluster of covariance u S, with S the shape that all clusters of the KV head
/// share (ClusterIndex::key_shape); second_order is the case S = I, and overshoots where a query is
/// large in channels that keys share. See log_mean_weight for wide clusters.
enum class Estimator { kJensen, kSecondOrder, kDiagonal, kPooled };
ParamSpec estimator_param();
Estimator parse_estimator(const Parameters& parameters);

/// Variance of the logits in a cluster whose keys have a mean variance of 1: scale^2 q' S q, S the
/// pooled shape where the index holds it, and else I. [group size]
VectorD unit_logit_variances(const ClusterIndex& index, const QueryGroup& group);
/// Variance of the logits within every cluster, u_i times that: [group size, clusters].
MatrixD logit_variances(const ClusterIndex& index, const QueryGroup& group);

/// log of the mean of exp(x) over `size` draws of a centred Gaussian of variance v, as a draw of so
/// many typically has it: v/2 up to v = 2 log(size), and beyond it, where the mean would come of
/// values that so few draws do not hold, sqrt(2 v log(size)) - log(size): the largest draw alone.
/// (The random energy model's freezing, Derrida 1981.)
double log_mean_weight(double variance, double size);

/// log z of every cluster: [group size, clusters]; -infinity for a cluster without members.
/// kDiagonal needs an index with IndexMoments::per_dimension, kPooled one with key_shape.
MatrixD estimate_log_masses(const ClusterIndex& index, const QueryGroup& group,
                            Estimator estimator);

/// Adds the estimate stage's cost: every centroid and size, and what the estimator reads beside
/// them (second_order: a float; diagonal: a vector and a float; pooled: a float, and a matrix a KV
/// head), once a group.
void charge_estimate(const ClusterIndex& index, const QueryGroup& group, Estimator estimator,
                     KvDtype dtype, GroupSelection& out);

}  // namespace doublep
