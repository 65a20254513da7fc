// The common currency: what a policy wants attended in one step, by a query head and by its group.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "core/cost/stages.h"

namespace doublep {

class ClusterIndex;

/// A cluster that enters attention as one term: num += z v, den += z, with z = exp(log_mass) and
/// v the mean of the members' values plus value_shift times the selection's shift vector.
/// Where some of its members are attended exactly, the term stands for the others.
struct ClusterTerm {
  std::int32_t cluster = 0;
  double log_mass = 0;    ///< log of the estimated mass s exp(q.C scale + correction)
  float value_shift = 0;  ///< coefficient of Selection::shift; 0 = the plain mean value
  /// sum_j (w_j/p - 1/s)^2 over what the term stands for, where the policy knows it; NaN where it
  /// follows from the cluster's variance (core/policy/term_error.h).
  double weight_spread = std::numeric_limits<double>::quiet_NaN();
};

struct Selection {
  /// Positions attended exactly: sorted, unique, < visible tokens.
  std::vector<std::int32_t> tokens;
  /// Empty, or one per token: added to the token's logit (log of 1/probability for samples).
  std::vector<float> log_weights;
  /// Clusters that enter as one term, in ascending order of cluster.
  std::vector<ClusterTerm> terms;
  /// The index that `terms` refer to; null where there are none.
  std::shared_ptr<const ClusterIndex> index;
  /// [value_dim]: the direction in which this query moves every term's value; empty where it moves
  /// none (core/index/value_shift.h).
  std::vector<float> shift;
  /// Share of the mass that the policy promises to cover; NaN where it promises none.
  double target_p = 0;
  /// Largest relative output error that the policy promises; NaN where it promises none.
  double target_error = std::numeric_limits<double>::quiet_NaN();
  /// What the policy multiplied its prediction of the error with to keep that promise.
  double error_factor = 1;
};

/// A policy's own sampled estimate of the mass it covers; NaN where it makes none.
struct MassAudit {
  double mass, low, high;  ///< estimate and interval of the covered share of the true mass
};

/// One entry per query head of the group. Bytes in `cost` are a head's share: reads that the group
/// shares are divided evenly. The attend stage is filled in by the shared attend.
struct GroupSelection {
  std::vector<Selection> heads;
  std::vector<StepCost> cost;
  std::vector<MassAudit> audits;  ///< empty where the policy makes none

  explicit GroupSelection(int group_size) : heads(group_size), cost(group_size) {}
  /// Adds to every head: the group's bytes divided by its size, and `flops` each.
  void charge(Stage stage, double group_bytes, double flops_per_head) {
    for (StepCost& head : cost)
      head[stage] += Work{group_bytes / static_cast<double>(cost.size()), flops_per_head};
  }
  void charge(Stage stage, const Work& work) { charge(stage, work.bytes, work.flops); }
  /// Adds to every head what it reads and computes by itself.
  void charge_heads(Stage stage, const Work& each) {
    for (StepCost& head : cost) head[stage] += each;
  }
};

/// Adds what `more` has to `all`; both ascending. Most groups select the same, or nothing yet:
/// neither is merged.
inline void unite(std::vector<std::int32_t>& all, const std::vector<std::int32_t>& more) {
  if (all == more) return;
  if (all.empty()) {
    all = more;
    return;
  }
  std::vector<std::int32_t> merged;
  merged.reserve(all.size() + more.size());
  std::set_union(all.begin(), all.end(), more.begin(), more.end(), std::back_inserter(merged));
  all = std::move(merged);
}

}  // namespace doublep
