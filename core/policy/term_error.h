// How wrong a cluster's term is going to be, known before any of its tokens is read.
#pragma once

#include "core/base/matrix.h"
#include "core/cache/kv_cache.h"
#include "core/index/cluster_index.h"
#include "core/policy/exact_zone.h"

namespace doublep {

/// Let the weights w_j of a cluster's s tokens spread around their mean. Leaving the cluster as one
/// term, with the right mass p and the mean value, misses sum_j (w_j - p/s) (v_j - V): where
/// weights and values vary independently, its square is about
///     e^2 = p^2 f (|V - o|^2 + Sv) / |o|^2,   f = sum_j (w_j/p - 1/s)^2 = (exp(sigma^2) - 1) / s
/// relative to the output o, with sigma^2 the variance of the cluster's logits (logit_variances)
/// and Sv the mean squared distance of its values to their mean V.

/// f, without a bound: where logits spread widely it exceeds 1 - 1/s, one token with all the
/// weight.
double weight_spread(double logit_variance, double size);
/// f, bounded by that.
double bounded_weight_spread(double logit_variance, double size);

/// What the error is made of, for one group in one step.
struct TermErrors {
  MatrixD shares;  ///< p: estimated share of a head's mass, the exact zone's included [group, k]
  /// p^2 f, e^2 without what values contribute: what clusters are ordered by. Not bounded: where
  /// sigma^2 is large p is in doubt, too, and such a cluster had better be read. [group, k]
  MatrixD weights;
  /// e^2 with f at most 1 - 1/s, where one token has all the weight: what is left to expect.
  /// Without the values it is p^2 f: every value as far from the output as the output is long.
  /// [group, k]
  MatrixD squared;
  /// (|V - o|^2 + Sv) / |o|^2, what the values contribute. [group, k]; empty unless asked for.
  MatrixD distances;
  VectorD log_totals;       ///< log of all of a head's mass, zone and estimate, per head
  VectorD zone_log_masses;  ///< log of the exact zone's true mass, per head
};

/// `log_masses`: [group, k], the estimate. Reads the zone's keys and, with `values`, its values and
/// every mean value, for an output estimated from zone and terms.
TermErrors term_errors(const KvHead& cache, const ExactZone& zone, const QueryGroup& group,
                       const ClusterIndex& index, const MatrixD& log_masses,
                       const MatrixD& logit_variances, bool values);

/// log of the exact zone's true mass, per head.
VectorD zone_log_masses(const KvHead& cache, const ExactZone& zone, const QueryGroup& group);

}  // namespace doublep
