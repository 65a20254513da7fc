// Double-P's sparsity made dynamic: refine until the audit says that enough mass is covered.
#pragma once

#include <cstdint>

#include "core/policy/mass_audit.h"

namespace doublep {

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
