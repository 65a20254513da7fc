// The common currency: what a policy wants attended for one query head in one step.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace doublep {

class ClusterIndex;

/// A cluster that enters attention as one term: num += z v, den += z, with z = exp(log_mass) and
/// v the mean of the members' values plus value_shift times the selection's shift vector.
struct ClusterTerm {
  std::int32_t cluster = 0;
  double log_mass = 0;    ///< log of the estimated mass s exp(q.C scale + correction)
  float value_shift = 0;  ///< coefficient of Selection::shift; 0 = the plain mean value
};

struct Selection {
  /// Positions attended exactly: sorted, unique, < visible tokens.
  std::vector<std::int32_t> tokens;
  /// Empty, or one per token: added to the token's logit (log of 1/probability for samples).
  std::vector<float> log_weights;
  /// Clusters that enter as one term, in ascending order of cluster, none with exact members.
  std::vector<ClusterTerm> terms;
  /// The index that `terms` refer to; null where there are none.
  std::shared_ptr<const ClusterIndex> index;
  /// [head_dim]: the direction in which this query moves every term's value; empty where it moves
  /// none (core/index/value_shift.h).
  std::vector<float> shift;
  /// Share of the mass that the policy promises to cover; NaN where it promises none.
  double target_p = 0;
};

}  // namespace doublep
