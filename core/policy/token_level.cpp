#include "core/policy/token_level.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/cache/logits.h"
#include "core/cost/stages.h"

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

WeighedTokens::WeighedTokens(const ResidualKeys& keys, const ClusterIndex& index,
                             const QueryGroup& group, int first, int count,
                             std::span<const std::int32_t> order, const VectorD& log_totals,
                             const VectorD& votes)
    : keys_(keys),
      index_(index),
      heads_(group),
      first_(first),
      order_(order),
      log_totals_(log_totals),
      votes_(votes) {
  heads_.queries = group.query(first), heads_.size = count;
}

void WeighedTokens::look_into(std::size_t clusters) {
  for (std::size_t i = shares_.size(); i < clusters; ++i) {
    MatrixD p = keys_.logits(heads_, order_[i]);
    for (int h = 0; h < heads_.size; ++h)
      p.row(h) = (p.row(h).array() - log_totals_[first_ + h]).min(300.0).exp();
    const auto votes = votes_.segment(first_, heads_.size);
    for (Eigen::Index j = 0; j < p.cols(); ++j) worth_.push_back(p.col(j).cwiseAbs2().dot(votes));
    places_.push_back(worth_.size());
    shares_.push_back(std::move(p));
  }
}

const std::vector<bool>& WeighedTokens::picked(std::size_t clusters, double wanted) {
  if (clusters == asked_clusters_ && wanted == asked_wanted_) return picked_;
  asked_clusters_ = clusters, asked_wanted_ = wanted;
  look_into(clusters);
  const std::size_t all = places_[clusters];
  picked_.assign(all, false);
  std::vector<std::size_t> order(all);
  std::iota(order.begin(), order.end(), 0);
  const auto n = static_cast<std::size_t>(std::min(std::ceil(wanted), static_cast<double>(all)));
  // The same that an order of all would begin with: ties go to the first.
  std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n), order.end(),
                   [&](std::size_t a, std::size_t b) {
                     return worth_[a] != worth_[b] ? worth_[a] > worth_[b] : a < b;
                   });
  for (std::size_t i = 0; i < n; ++i) picked_[order[i]] = true;
  return picked_;
}

WeighedTokens::Left WeighedTokens::left_of(std::size_t cluster, int head,
                                           const std::vector<bool>& picked) const {
  Left left;
  for (Eigen::Index j = 0; j < shares_[cluster].cols(); ++j)
    if (!picked[places_[cluster] + static_cast<std::size_t>(j)]) {
      const double p = shares_[cluster](head, j);
      left.mass += p, left.squares += p * p, ++left.members;
    }
  return left;
}

TokenPicks WeighedTokens::pick(std::size_t clusters, double wanted) {
  const std::vector<bool>& exact = picked(clusters, wanted);
  TokenPicks picks;
  picks.rests.resize(heads_.size);
  for (std::size_t i = 0; i < clusters; ++i) {
    const auto members = index_.members(order_[i]);
    for (std::size_t j = 0; j < members.size(); ++j)
      if (exact[places_[i] + j]) picks.tokens.push_back(members[j]);
    for (int h = 0; h < heads_.size; ++h) {
      const Left left = left_of(i, h, exact);
      if (left.members == 0) break;
      ClusterTerm rest{order_[i], std::log(left.mass) + log_totals_[first_ + h]};
      rest.weight_spread =
          left.mass > 0 ? std::max(0.0, left.squares / (left.mass * left.mass) - 1 / left.members)
                        : 0;
      picks.rests[h].push_back(rest);
    }
  }
  std::sort(picks.tokens.begin(), picks.tokens.end());
  return picks;
}

VectorD WeighedTokens::left(std::size_t clusters, double wanted) {
  const std::vector<bool>& exact = picked(clusters, wanted);
  VectorD squared = VectorD::Zero(heads_.size);
  for (std::size_t i = 0; i < clusters; ++i)
    for (int h = 0; h < heads_.size; ++h) {
      const Left left = left_of(i, h, exact);
      if (left.members > 0)
        squared[h] += std::max(0.0, left.squares - left.mass * left.mass / left.members);
    }
  return squared;
}

void WeighedTokens::charge(std::size_t clusters, GroupSelection& out) const {
  const auto looked_at = static_cast<double>(places_[clusters]);
  for (int h = first_; h < first_ + heads_.size; ++h) {
    out.cost[h][Stage::kEstimate] += Work{looked_at * keys_.bytes_per_token() / heads_.size,
                                          cost::weigh_quantised_flops(looked_at, heads_.head_dim)};
    out.cost[h][Stage::kSelect] += cost::order(looked_at);
  }
}

}  // namespace doublep
