#include "core/policy/token_level.h"

#include <algorithm>
#include <cmath>

#include "core/cache/logits.h"
#include "core/cost/stages.h"
#include "core/selection/top_p.h"

namespace doublep {

void ResidualKeys::follow(const KvHead& cache, const std::shared_ptr<const ClusterIndex>& index) {
  if (index_ == index) return;
  index_ = index, d_ = cache.head_dim;
  const std::int64_t n = index->end() - index->begin();
  codes_.resize(static_cast<std::size_t>(n * d_));
  scales_.resize(static_cast<std::size_t>(n));
  Eigen::RowVectorXf rest(d_);
  for (std::int32_t c = 0; c < index->num_clusters(); ++c)
    for (std::int32_t j : index->members(c)) {
      const std::int64_t place = j - index->begin();
      rest = ConstRowF(cache.key(j), d_) - index->centroids().row(c);
      scales_[place] = quantise_row(rest.data(), d_, bits_, codes_.data() + place * d_);
    }
  build_ += cost::quantise(static_cast<double>(n), cache.head_dim, dtype_);
}

MatrixD ResidualKeys::logits(const QueryGroup& group, std::int32_t cluster) const {
  const auto members = index_->members(cluster);
  MatrixF keys(static_cast<Eigen::Index>(members.size()), d_);
  for (std::size_t i = 0; i < members.size(); ++i) {
    const std::int64_t place = members[i] - index_->begin();
    for (std::int64_t c = 0; c < d_; ++c)
      keys(static_cast<Eigen::Index>(i), c) =
          index_->centroids()(cluster, c) + scales_[place].low +
          static_cast<float>(codes_[place * d_ + c]) * scales_[place].step;
  }
  return exact_logits(group, keys.data(), keys.rows());
}

TokenPicks pick_tokens(const ResidualKeys& keys, const ClusterIndex& index, const QueryGroup& group,
                       int first, int count, std::span<const std::int32_t> clusters, double wanted,
                       const VectorD& log_totals, GroupSelection& out) {
  QueryGroup heads = group;
  heads.queries = group.query(first), heads.size = count;
  std::vector<MatrixD> shares;  // of each cluster's members: [heads, members]
  std::vector<std::int32_t> tokens;
  std::vector<double> worth;
  for (std::int32_t c : clusters) {
    MatrixD p = keys.logits(heads, c);
    for (int h = 0; h < count; ++h)
      p.row(h) = (p.row(h).array() - log_totals[first + h]).min(300.0).exp();
    const auto members = index.members(c);
    for (std::size_t i = 0; i < members.size(); ++i) {
      tokens.push_back(members[i]);
      worth.push_back(p.col(static_cast<Eigen::Index>(i)).squaredNorm());
    }
    shares.push_back(std::move(p));
  }
  const double looked_at = static_cast<double>(tokens.size());
  const auto order = descending_order(worth);
  std::vector<bool> picked(tokens.size(), false);
  TokenPicks picks;
  for (std::size_t i = 0; i < order.size() && static_cast<double>(i) < wanted; ++i) {
    picked[order[i]] = true;
    picks.tokens.push_back(tokens[order[i]]);
  }
  std::sort(picks.tokens.begin(), picks.tokens.end());
  picks.rests.resize(count);
  std::size_t place = 0;
  for (std::size_t i = 0; i < clusters.size(); ++i) {
    const auto n = static_cast<std::size_t>(shares[i].cols());
    for (int h = 0; h < count; ++h) {
      double left = 0, squares = 0, members = 0;
      for (std::size_t j = 0; j < n; ++j)
        if (!picked[place + j]) {
          const double p = shares[i](h, static_cast<Eigen::Index>(j));
          left += p, squares += p * p, ++members;
        }
      if (members == 0) continue;
      ClusterTerm rest{clusters[i], std::log(left) + log_totals[first + h]};
      rest.weight_spread = left > 0 ? std::max(0.0, squares / (left * left) - 1 / members) : 0;
      picks.rests[h].push_back(rest);
    }
    place += n;
  }
  for (int h = first; h < first + count; ++h) {
    out.cost[h][Stage::kEstimate] += Work{looked_at * keys.bytes_per_token() / count,
                                          cost::weigh_quantised_flops(looked_at, group.head_dim)};
    out.cost[h][Stage::kSelect] += cost::order(looked_at);
  }
  return picks;
}

}  // namespace doublep
