// A policy's parameters as stages of a decode step on the device: what index is built, how it is
// scored, how far down the ranking a selection goes, what is attended.
#pragma once

#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "core/cost/stages.h"
#include "core/index/kmeans.h"
#include "core/index/query_metric.h"
#include "core/policy/exact_zone.h"
#include "cuda/step/decode_step.h"

namespace doublep::cuda {

/// The index: what is scored instead of the keys, and how it is made and kept.
struct IndexPlan {
  enum class Items { kNone, kPages, kClusters } items = Items::kNone;
  ItemIndex::Clustering clustering;  ///< kClusters, less what depends on the keys: clustering_of()
  KmeansOptions first;               ///< kClusters: where k-means begins
  MetricOptions metric;              ///< kClusters: what distances it goes by
  bool grows = false;                ///< new tokens are clustered by themselves, not all anew
  std::int64_t recluster_every = 0;
};

/// Where a ranking ends, for what is kept and, of that, for what is attended token by token.
struct StopPlan {
  enum class Rule {
    kMass,      ///< shares of the estimated mass
    kTokens,    ///< a budget of tokens, in whole pages
    kItems,     ///< a budget of items
    kOccupied,  ///< shares of the items that have members, rounded up
    kVisible,   ///< items until so many tokens are refined, or a share of the visible ones
    kError,     ///< items until what remains is predicted to err by no more than so much
  } rule = Rule::kMass;
  double kept = 1, refined = 1;  ///< kMass, kOccupied
  Budget budget = {};            ///< kTokens, kItems: of what is kept, all of it refined
  double share = 0;              ///< kVisible; 0: `tokens`
  std::int64_t tokens = 0;       ///< kVisible
  double error = 0, tail = 0;    ///< kError, as core's RefinementOptions has them
};

/// StepOptions say how items are scored (`estimator`), in what order they are ranked (`rank`,
/// `rank_without_size`) and what of them is attended (`terms`, ...); the plan fills in what depends
/// on the cache.
struct Plan {
  std::int64_t sink = 0, window = 0;
  IndexPlan index;
  StopPlan stop;
  bool mass_with_zone = false;  ///< shares are of the mass with sinks and tail
  StepOptions step;
  bool fp8 = false;  ///< the cache is packed: Cache::keep_packed()
  double target_p = std::numeric_limits<double>::quiet_NaN();

  bool clustered() const { return index.items == IndexPlan::Items::kClusters; }
  bool pages() const { return index.items == IndexPlan::Items::kPages; }
  bool twilight() const { return step.kind == StepKind::kTwilight; }
  bool pooled() const { return clustered() && step.estimator == MassEstimate::kPooled; }
  bool by_error() const { return clustered() && stop.rule == StopPlan::Rule::kError; }
  bool ranked() const {
    return by_error() || (clustered() && stop.rule == StopPlan::Rule::kVisible);
  }
  SelectRule rule() const;  ///< of the step that options() describe
  ExactZone zone(std::int64_t length) const { return ExactZone::of(sink, window, length); }
  /// Pages over `length` tokens, or clusters of those between its zones.
  std::int64_t items(std::int64_t length) const;
  /// Items kept and refined out of `items` over `length` tokens; none where they are not a matter
  /// of counting items (kMass, kVisible, kError). `occupied`: items that have members.
  std::pair<std::int32_t, std::int32_t> budgets(std::int64_t length, std::int64_t items,
                                                std::int64_t occupied) const;
  /// `capacity`: rows of the cache; `zone`: as it stands now.
  StepOptions options(double softmax_scale, std::int64_t capacity, const ExactZone& zone) const;

  /// Taking `joined` tokens of one KV head into its pages.
  Work paging_work(std::int64_t joined, int head_dim, KvDtype dtype) const;
  /// Bytes of one KV head's index with `items` over `tokens`.
  double index_bytes(std::int64_t items, std::int64_t tokens, int head_dim, KvDtype dtype) const;
};

inline constexpr int kQuantisedBits = 4;  ///< of an element of Twilight's keys

/// Clusters that so many points of one KV head make, and the work of making them. `warped`: share
/// of the KV heads that are clustered in another metric than Euclid's.
std::int64_t clusters_of(std::int64_t points, const ItemIndex::Clustering& clustering);
Work clustering_work(std::int64_t points, int head_dim, const ItemIndex::Clustering& clustering,
                     double warped = 0);

/// A KV head's W, or null for Euclid's metric, one each.
using Warps = std::vector<std::shared_ptr<const MatrixD>>;
double warped_share(const Warps& warps);
/// The plan's clustering of so many points, with where k-means begins and the metric that it goes
/// by. `warps`: of every KV head, or none at all.
ItemIndex::Clustering clustering_of(const IndexPlan& plan, std::int64_t points, const Warps& warps);

/// Of queries, indexes and rows in no block.
DType device_type(KvDtype dtype);

}  // namespace doublep::cuda
