// What kind of attention a query head has, as far as estimates from clusters care: how its keys
// spread within clusters, which directions its queries use and whether they stay, and which
// estimate of a cluster's mass holds.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/matrix.h"
#include "core/index/cluster_index.h"
#include "core/index/mass_estimate.h"
#include "core/policy/policy.h"
#include "core/trace/trace.h"
#include "experiments/inspect/statistics.h"

namespace doublep {

/// The estimators that are held against the truth, the simplest first.
inline constexpr std::array kEstimators = {Estimator::kJensen, Estimator::kSecondOrder,
                                           Estimator::kPooled};
inline constexpr std::array kEstimatorNames = {"jensen", "second_order", "pooled"};
inline constexpr double HeadStatistics::*kLogErrors[] = {&HeadStatistics::log_error_jensen,
                                                         &HeadStatistics::log_error_second_order,
                                                         &HeadStatistics::log_error_pooled};

/// E[q q'] of one query head over its trace / d (query_moment), of what an index may know at
/// prefill and of what comes: [d, d].
struct QueryMoments {
  MatrixD before;  ///< the prompt's last positions; where none were recorded, half of the steps
  MatrixD during;  ///< the steps, or the other half of them; no rows where there is none
  std::int64_t prompt_positions = 0;  ///< that `before` is made of; 0 = it is made of steps
};
QueryMoments query_moments(const Trace& trace, const TraceLayer& layer, int head);

/// |A/tr A - B/tr B| / sqrt(|A/tr A|^2 + |B/tr B|^2), Frobenius norms: 0 for the same metric, 1
/// where the queries of one are orthogonal to all of the other.
double metric_drift(const MatrixD& a, const MatrixD& b);

/// Scatter of the clustered keys, sums over tokens: around their centroids, and around the mean of
/// them all. [d, d] each. Needs an index with key_shape.
struct KeyScatter {
  MatrixD within, total;
};
KeyScatter key_scatter(const ClusterIndex& index);

/// tr(M within) / tr(M total): the share of the logits' variance, over queries of moment M, that is
/// left inside clusters. NaN where there is no variance.
double share_within(const KeyScatter& scatter, const MatrixD& moment);

/// Sets what of `out` does not hang on a step: ranks, shares, drift. Without `keys` (nothing is
/// clustered) what speaks of keys stays NaN.
void describe_head(const QueryMoments& queries, const KeyScatter* keys, HeadStatistics& out);

/// log z of every cluster for one query, of each of kEstimators.
using LogMasses = std::array<const double*, kEstimators.size()>;

/// One query over all visible tokens: logits, and softmax of them.
struct StepWeights {
  const double *logits, *weights;
  double log_sum_exp;
};

/// Sets logit_variance and log_errors of one step: means over clusters, weighted by true mass.
void judge_estimates(const ClusterIndex& index, const StepWeights& truth,
                     const LogMasses& estimates, HeadStatistics& out);

/// What `double_p`, `variant: best`, takes each head of the group for at its usual share, by
/// `head_kinds: auto` and a selection a head. `cache`, `group`: of the first step; `prompt`: the
/// tokens that the index is built on, as a replay does. Empty where there are no prompt queries.
std::vector<std::string_view> policy_kinds(const KvHead& cache, const QueryGroup& group,
                                           std::int64_t prompt, const PolicyContext& context);

/// The name of the simplest estimator whose log error is the lowest, or above it by no more than 1
/// % and 1e-4; empty where none was judged.
std::string best_estimator(const HeadStatistics& head);

}  // namespace doublep
