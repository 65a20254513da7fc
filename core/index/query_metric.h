// The metric in which clusters should be tight: that of the queries that will come, not Euclid's.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/base/matrix.h"
#include "core/base/parameters.h"
#include "core/cache/kv_cache.h"

namespace doublep {

/// The logits of a cluster with covariance S spread by q' S q; averaged over the queries that will
/// come that is tr(M S) with M = E[q q']. So k-means belongs in the metric M. Made from the queries
/// seen last: of the prompt, or of the steps.
struct MetricOptions {
  enum class Kind { kEuclidean, kQuery, kAuto } kind = Kind::kEuclidean;
  enum class Source { kPrompt, kSteps } source = Source::kPrompt;
  double rho = 0.3;
  std::int64_t queries = 64;  ///< the last so many positions
};
ParamSpecs metric_params();
MetricOptions metric_options(const Parameters& parameters);

/// The queries of one group that were seen last, oldest first.
class QueryHistory {
 public:
  explicit QueryHistory(std::int64_t capacity) : capacity_(capacity) {}
  void add(const PrefillQueries& prompt);
  void add(const QueryGroup& step);
  std::int64_t positions() const { return static_cast<std::int64_t>(rows_.size()); }
  /// Of position `i`: [heads, head_dim].
  const MatrixF& at(std::int64_t i) const { return rows_[static_cast<std::size_t>(i)]; }

 private:
  void add(const float* queries, int heads, int head_dim);
  std::int64_t capacity_;
  std::vector<MatrixF> rows_;
};

/// Mean of q q' over the heads of the positions [begin, end) of the history, over its trace / d:
/// [d, d] with trace d. Zero queries give the identity.
MatrixD query_moment(const QueryHistory& history, std::int64_t begin, std::int64_t end);

/// (M + rho I)^(1/2), symmetric: distances of the rows k W are those of the metric M + rho I.
/// `moment` has trace d. [d, d]
MatrixD metric_root(const MatrixD& moment, double rho);

/// Number of directions that the queries use: (tr M)^2 / tr M^2, between 1 and d.
double effective_rank(const MatrixD& moment);

/// Fewer positions than this are not believed.
inline constexpr std::int64_t kFewestPositions = 16;

/// The shrinkage that the queries themselves ask for, by cross-validation in blocks of time: each
/// quarter of the history is held out in turn, and the rho of the grid is taken under which the
/// other quarters' metric, as a covariance, makes the held-out queries most likely. Infinity, that
/// is the Euclidean metric, where the history is shorter than kFewestPositions, or where that
/// metric beats Euclid's by less than max(0.5, 16 / positions) in twice the log likelihood of a
/// dimension: queries that use many directions, of which few were seen (core/index/NOTES.md).
double cross_validated_rho(const QueryHistory& history);

/// The metric of one KV head's clusterings, learnt from the queries that its group asks.
class MetricLearner {
 public:
  explicit MetricLearner(const MetricOptions& options)
      : options_(options), history_(options.queries) {}

  /// Throws InputError where the prompt's queries are needed and the cache has none.
  void prefill(const KvHead& cache);
  /// What a step asked.
  void observe(const QueryGroup& queries);
  /// True once, when as many steps as the metric waits for have been seen: the index that was built
  /// without them is to be built anew.
  bool steps_seen();
  /// W of the queries seen last, as ClusteringOptions::warp has it; null: Euclid's metric, also
  /// where no queries have been seen yet. [head_dim, head_dim]
  std::shared_ptr<const MatrixD> warp() const;

 private:
  bool from_prompt() const { return options_.source == MetricOptions::Source::kPrompt; }

  MetricOptions options_;
  QueryHistory history_;
  std::int64_t observed_ = 0;  ///< steps
  bool waited_ = false;
};

}  // namespace doublep
