// Top-p over clusters for a group of query heads: the stage that Double-P calls with two shares and
// one-level top-p with one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/parameters.h"
#include "core/cache/logits.h"
#include "core/policy/clustered_cache.h"
#include "core/policy/policy.h"

namespace doublep {

struct NucleusOptions {
  /// Does a share p refer to the clusters' mass alone, or to the exact zone's too (then the zone
  /// counts towards p)?
  enum class Scope { kClusters, kAll } scope = Scope::kClusters;
  /// A selection per query head; one by the sum of the members' probabilities; or the union.
  enum class Gqa { kPerHead, kGroupSum, kGroupUnion } gqa = Gqa::kPerHead;
};
ParamSpecs nucleus_params();
NucleusOptions nucleus_options(const Parameters& parameters);

/// sets[h][i]: the clusters, ascending, that hold shares[i] of head h's mass.
/// `log_masses`: [group, clusters]. Adds the select stage's cost, and for Scope::kAll the reading
/// of the exact zone's keys, which attend reads again, to the estimate stage, unless the logs of
/// its masses are known (`zone_masses`, per head). `scores`: taken in their order instead of that
/// of the masses, [group, clusters].
std::vector<std::vector<std::vector<std::int32_t>>> cluster_nuclei(
    const KvHead& cache, const ExactZone& exact, const QueryGroup& group, const MatrixD& log_masses,
    std::span<const double> shares, const NucleusOptions& options, KvDtype dtype,
    GroupSelection& out, const MatrixD* scores = nullptr, const VectorD* zone_masses = nullptr);

}  // namespace doublep
