// The level below clusters: single tokens, by keys in a few bits. For heads whose logits spread so
// widely within clusters that a term for a whole cluster says nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/matrix.h"
#include "core/cache/kv_cache.h"
#include "core/index/cluster_index.h"
#include "core/index/quantiser.h"
#include "core/selection/selection.h"

namespace doublep {

/// What a key differs from its cluster's centroid by, min-max quantised token by token. The
/// centroid is read anyway, and takes with it the channels that all keys share, which in some
/// models are so large that whole keys in 4 bits keep nothing else.
class ResidualKeys {
 public:
  ResidualKeys(int bits, KvDtype dtype) : bits_(bits), dtype_(dtype) {}

  /// Of every token of the index, anew where the index is another.
  void follow(const KvHead& cache, const std::shared_ptr<const ClusterIndex>& index);
  /// Logits of a cluster's members as they are remembered: [group size, members].
  MatrixD logits(const QueryGroup& group, std::int32_t cluster) const;

  double bytes_per_token() const { return cost::quantised_key_bytes(static_cast<int>(d_), bits_); }
  IndexCost cost() const {
    return {bytes_per_token() * static_cast<double>(scales_.size()), build_};
  }

 private:
  int bits_;
  KvDtype dtype_;
  std::int64_t d_ = 0;
  std::shared_ptr<const ClusterIndex> index_;
  std::vector<std::uint8_t> codes_;  // [tokens of the index, d]
  std::vector<RowScale> scales_;     // [tokens of the index]
  Work build_;
};

/// What some heads of a group attend of the clusters that they looked into.
struct TokenPicks {
  std::vector<std::int32_t> tokens;  ///< sorted: attended exactly
  /// By head, a term for what remains of every cluster that was looked into and has tokens left.
  std::vector<std::vector<ClusterTerm>> rests;
};

/// The tokens of clusters, from the first of an order on, as the heads [first, first + count) of a
/// group see them by keys in a few bits. Picked are those that remove most squared error: by the
/// sum over the heads of p_j^2, p_j the share of a head's mass that the token's logit comes to.
class WeighedTokens {
 public:
  /// Of every head of the group, `log_totals`: log of all of its mass; `votes`: what its squared
  /// errors count, as head_votes() has them. All outlive this.
  WeighedTokens(const ResidualKeys& keys, const ClusterIndex& index, const QueryGroup& group,
                int first, int count, std::span<const std::int32_t> order,
                const VectorD& log_totals, const VectorD& votes);

  /// `wanted` tokens of the first `clusters` of the order.
  TokenPicks pick(std::size_t clusters, double wanted);
  /// Squared error that what pick() leaves of these clusters is predicted to come to, values left
  /// out as in TermErrors::weights: sum p_j^2 less what equal weights would have, by head.
  VectorD left(std::size_t clusters, double wanted);
  /// Adds to the cost of the heads that the first `clusters` were looked into and ordered; what
  /// they read together is divided among them.
  void charge(std::size_t clusters, GroupSelection& out) const;

 private:
  void look_into(std::size_t clusters);
  /// Which of the first tokens are picked; kept until something else is asked.
  const std::vector<bool>& picked(std::size_t clusters, double wanted);
  /// Sum, and sum of squares, of a head's weights over a cluster's tokens that are not; their
  /// number.
  struct Left {
    double mass = 0, squares = 0, members = 0;
  };
  Left left_of(std::size_t cluster, int head, const std::vector<bool>& picked) const;

  const ResidualKeys& keys_;
  const ClusterIndex& index_;
  QueryGroup heads_;
  int first_;
  std::span<const std::int32_t> order_;
  const VectorD &log_totals_, &votes_;
  std::vector<MatrixD> shares_;         // of each cluster's members: [heads, members]
  std::vector<std::size_t> places_{0};  // where a cluster's tokens begin in `worth_`
  std::vector<double> worth_;
  std::vector<bool> picked_;
  std::size_t asked_clusters_ = 0;
  double asked_wanted_ = -1;
};

}  // namespace doublep
