// The clusters of an index in the order in which a step would refine them, with what that order is
// made of: what Double-P's learning from the prompt, and its kinds of heads, both begin with.
#pragma once

#include <vector>

#include "core/index/mass_estimate.h"
#include "core/policy/refinement.h"
#include "core/policy/term_error.h"

namespace doublep {

/// How clusters are estimated and ordered, and whether their terms' values are shifted.
struct RankingRule {
  RankingRule(const Parameters& parameters, KvDtype dtype);

  Estimator estimator;
  RefinementOptions refinement;
  NucleusOptions::Gqa gqa;
  bool shifted;
  KvDtype dtype;  ///< element size that cost is counted with
};

struct RankedClusters {
  MatrixD log_masses;  ///< the estimate: [group size, clusters]
  TermErrors errors;
  std::vector<RefinementOrder>
      orders;  ///< one where the group shares its selection, else one a head
};
RankedClusters rank_clusters(const RankingRule& rule, const KvHead& cache, const ExactZone& zone,
                             const ClusterIndex& index, const QueryGroup& group);

}  // namespace doublep
