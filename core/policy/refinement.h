// Which clusters Double-P attends token by token: in which order they are taken, and where it
// stops.
#pragma once

#include <cstdint>
#include <vector>

#include "core/index/mass_estimate.h"
#include "core/policy/cluster_nucleus.h"
#include "core/policy/term_error.h"

namespace doublep {

struct RefinementOptions {
  /// mass: estimated mass (the paper). similarity: softmax of q.C over centroids, sizes left out
  /// (RetroInfer). error: e^2 a token, what reading a token removes of the squared error; values
  /// are left out of it, which costs no accuracy and spares their reading (core/index/NOTES.md).
  /// p2: p^2 a token, the same without the clusters' spread.
  enum class Order { kMass, kSimilarity, kError, kP2 } order = Order::kMass;
  /// mass: a share p2 of the mass. share: of the visible tokens. tokens: their number. error: until
  /// what remains is predicted to err by at most this. price: every cluster whose tokens remove
  /// more squared error each than this.
  enum class Stop { kMass, kShare, kTokens, kError, kPrice } stop = Stop::kMass;
  double share = 0.04, error = 0.05, price = 1e-6;
  std::int64_t tokens = 1024;
  /// With order: error, what a shared selection makes small, summed over its heads. squared_error:
  /// e^2, which the heads that err most decide by themselves. error: e, so that each head's e^2
  /// counts over the error that it would have with nothing refined, the slope of a root at its
  /// beginning: a head that looks up one token among heads that attend broadly is heard, too.
  enum class Objective { kSquaredError, kError } objective = Objective::kSquaredError;
  /// With stop: error: a cluster is refined whatever the sum says where one token, so many standard
  /// deviations above its centroid, would alone move a head's output by more than the error. The
  /// sum of squares knows typical tokens only, and a single one may hold all that a cluster has. 0:
  /// no such bound.
  double tail = 0;

  bool by_mass() const { return order == Order::kMass && stop == Stop::kMass; }
  /// A stop by error multiplies its prediction with factors that were learnt from true errors.
  bool calibrated = false;
  /// Does anything here ask for e^2 with the values? Learnt factors know how far values lie from
  /// the output: reading them tells little more, and costs more than it saves
  /// (core/index/NOTES.md).
  bool needs_values() const {
    return (stop == Stop::kError && !calibrated) || stop == Stop::kPrice;
  }
};
ParamSpecs refinement_params();
RefinementOptions refinement_options(const Parameters& parameters);

/// What each head's squared errors are multiplied with before heads are added up, by the objective:
/// one a head. `squared`: squared errors of every cluster, [group, k]; their sum is the square of
/// what is foreseen with nothing refined. A head that has nothing to lose counts as it is.
VectorD head_votes(const RefinementOptions& options, const MatrixD& squared);
/// What clusters are ordered by, the first highest: [group size, clusters].
MatrixD refinement_scores(const RefinementOptions& options, const ClusterIndex& index,
                          const QueryGroup& group, const TermErrors& errors);
/// Adds what scores and stop read and compute beyond the estimate: the exact zone's keys, and its
/// values and every mean value where the stop needs them.
void charge_refinement(const KvHead& cache, const ExactZone& zone, const ClusterIndex& index,
                       const RefinementOptions& options, KvDtype dtype, GroupSelection& out);

/// Clusters in the order in which they are refined, without those that have no members; the first
/// `forced` are refined wherever the stop is.
struct RefinementOrder {
  std::vector<std::int32_t> clusters;
  std::size_t forced = 0;
};
/// One where the group shares its selection, else one a head.
std::vector<RefinementOrder> refinement_orders(const RefinementOptions& options,
                                               NucleusOptions::Gqa gqa, const ClusterIndex& index,
                                               const QueryGroup& group, const MatrixD& scores,
                                               const TermErrors& errors);

/// The first clusters of an order whose tokens are `wanted` or more: how many they are.
std::size_t prefix_of_tokens(const std::vector<std::int32_t>& order, const ClusterIndex& index,
                             double wanted);
/// With stop: share or tokens, how many tokens are refined.
double wanted_tokens(const RefinementOptions& options, std::int64_t visible);

/// The clusters that every head refines, ascending; for stops other than mass. `factors`: what a
/// head's predicted error is multiplied with, one a head.
std::vector<std::vector<std::int32_t>> refined_clusters(
    const RefinementOptions& options, NucleusOptions::Gqa gqa, const ClusterIndex& index,
    const QueryGroup& group, std::int64_t visible, const MatrixD& scores, const TermErrors& errors,
    const VectorD& factors);

/// How clusters are estimated and ordered, and whether their terms' values are shifted.
struct RankingRule {
  RankingRule(const Parameters& parameters, KvDtype dtype);

  Estimator estimator;
  RefinementOptions refinement;
  NucleusOptions::Gqa gqa;
  bool shifted;
  KvDtype dtype;  ///< element size that cost is counted with
};

/// The clusters of an index in the order in which a step would refine them, with what that order is
/// made of: what Double-P's learning from the prompt, and its kinds of heads, both begin with.
struct RankedClusters {
  MatrixD log_masses;  ///< the estimate: [group size, clusters]
  TermErrors errors;
  VectorD token_votes;  ///< head_votes() by bounded errors, for what is one token's: p_j^2
  std::vector<RefinementOrder>
      orders;  ///< one where the group shares its selection, else one a head
};
RankedClusters rank_clusters(const RankingRule& rule, const KvHead& cache, const ExactZone& zone,
                             const ClusterIndex& index, const QueryGroup& group);

}  // namespace doublep
