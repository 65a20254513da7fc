// A stage that any cluster policy can switch on: how much of the true mass does a selection cover?
// Deterministic bounds (balls, boxes) certify nothing here; a few sampled keys do.
#pragma once

#include <cstdint>

#include "core/base/matrix.h"
#include "core/base/parameters.h"
#include "core/index/cluster_index.h"
#include "core/policy/policy.h"

namespace doublep {

/// `audit`: keys sampled per query head and step, 0 = off.
ParamSpec audit_param();

/// Audits the covered mass: that of the exact tokens, known from attending them, and of the tokens
/// inside terms, over that of all visible tokens. Two pools are sampled, the tokens inside terms
/// (an eighth of the samples; none where nothing is left outside) and those left outside: what is
/// covered is 1 less the outside's share, so nearly all uncertainty is there. Nothing outside means
/// a mass of 1 and an interval without width. Sampling is keyed by (seed, layer, KV head, query
/// head, step). Every token outside the index must be among the exact ones.
///
/// In a policy: a member `MassAuditor auditor_`, made from (parameters, context), and at the end of
/// select `auditor_.audit(cache, index, group, out);`, which does nothing where it is off.
class MassAuditor {
 public:
  MassAuditor(const Parameters& parameters, const PolicyContext& context);
  bool on() const { return samples_ > 0; }

  /// Fills out.audits, and adds the sampled keys to the estimate stage's cost. (The logits of the
  /// exact tokens are computed here again, but attend computes them anyway: they are not charged.)
  void audit(const KvHead& cache, const ClusterIndex& index, const QueryGroup& group,
             GroupSelection& out) const;

  /// log of the root mean square of exp(logit) over a Gaussian cluster's tokens, up to its head's
  /// constant: the sampling rate of a token. [group size, clusters]. Charges the variances.
  MatrixD log_rates(const ClusterIndex& index, const QueryGroup& group, GroupSelection& out) const;

  /// One head's audit with samples of their own per `round`. Adds to `cost`.
  MassAudit audit_head(const KvHead& cache, const ClusterIndex& index, const QueryGroup& group,
                       int head, const MatrixD& log_rates, const Selection& selection,
                       std::uint64_t round, StepCost& cost) const;

 private:
  std::int64_t samples_;
  PolicyContext context_;
};

/// Double-P's sparsity made dynamic: refine until the audit says that enough mass is covered.
///
/// Adds clusters that a head left outside to its exact tokens while the lower end of its audited
/// covered mass is below p, and leaves the last audit in out.audits. The widest come first: those
/// whose mass is most uncertain, size times root-mean-square weight. A round takes the widest that
/// hold half of the outside's width, then audits again with new samples; which clusters a round
/// takes does not depend on p, so a larger p never attends fewer tokens. Ends, in a logarithmic
/// number of rounds, at the latest with nothing outside: covered mass 1. Every head goes by itself,
/// whatever its group shares.
void refine_until_covered(const MassAuditor& auditor, const KvHead& cache,
                          const ClusterIndex& index, const QueryGroup& group, double p,
                          GroupSelection& out);

}  // namespace doublep
