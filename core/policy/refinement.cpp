#include "core/policy/refinement.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/cache/logits.h"
#include "core/cost/stages.h"
#include "core/index/mass_estimate.h"
#include "core/index/value_shift.h"
#include "core/selection/selection.h"
#include "core/selection/top_p.h"

namespace doublep {
namespace {

using Order = RefinementOptions::Order;
using Stop = RefinementOptions::Stop;

VectorD sizes_of(const ClusterIndex& index) {
  VectorD sizes(index.num_clusters());
  for (Eigen::Index i = 0; i < sizes.size(); ++i) sizes[i] = static_cast<double>(index.size(i));
  return sizes;
}

std::span<const double> as_span(const VectorD& v) {
  return {v.data(), static_cast<std::size_t>(v.size())};
}

// Clusters without members are of no use, wherever they stand in the order.
std::vector<std::int32_t> occupied(const VectorD& scores, const ClusterIndex& index) {
  auto order = descending_order(as_span(scores));
  std::erase_if(order, [&](std::int32_t c) { return index.size(c) == 0; });
  return order;
}

// Error that a token `tail` standard deviations above the centroid would cause by itself, beyond
// what its cluster's term gives it: [heads, clusters].
MatrixD tail_errors(const ClusterIndex& index, const QueryGroup& group, const TermErrors& errors,
                    double tail) {
  const MatrixD variances = logit_variances(index, group);
  MatrixD found(variances.rows(), variances.cols());
  for (Eigen::Index i = 0; i < found.cols(); ++i) {
    const double size = std::max<double>(1, static_cast<double>(index.size(i)));
    for (Eigen::Index h = 0; h < found.rows(); ++h) {
      const double v = variances(h, i),
                   excess =
                       std::expm1(std::min(tail * std::sqrt(v) - log_mean_weight(v, size), 300.0));
      found(h, i) = errors.shares(h, i) / size * std::max(0.0, excess);
    }
  }
  if (errors.distances.size() > 0) found.array() *= errors.distances.array().sqrt();
  return found;
}

// The smallest prefix after which no row of `squared` leaves more than the square of the bound.
std::size_t prefix_of_error(const std::vector<std::int32_t>& order, const MatrixD& squared,
                            const VectorD& factors, double bound) {
  std::size_t longest = 0;
  for (Eigen::Index h = 0; h < squared.rows(); ++h) {
    const double allowed = bound / factors[h] * (bound / factors[h]);
    // Backwards, so that what remains is a sum of small numbers first.
    double left = 0;
    std::size_t n = order.size();
    while (n > longest && left + squared(h, order[n - 1]) <= allowed)
      left += squared(h, order[--n]);
    longest = std::max(longest, n);
  }
  return longest;
}

}  // namespace

std::size_t prefix_of_tokens(const std::vector<std::int32_t>& order, const ClusterIndex& index,
                             double wanted) {
  std::size_t n = 0;
  for (double tokens = 0; n < order.size() && tokens < wanted; ++n)
    tokens += static_cast<double>(index.size(order[n]));
  return n;
}

double wanted_tokens(const RefinementOptions& options, std::int64_t visible) {
  return options.stop == Stop::kShare ? options.share * static_cast<double>(visible)
                                      : static_cast<double>(options.tokens);
}

ParamSpecs refinement_params() {
  return {
      choice("order", "mass", {"mass", "similarity", "error", "p2"},
             "clusters are refined by estimated mass, by q.C alone, by the squared error that each "
             "token read removes, or by p^2 a token"),
      choice("objective", "squared_error", {"squared_error", "error"},
             "with order: error, what heads that share a selection make small together: the sum of "
             "their squared errors, or of their errors"),
      choice("stop", "mass", {"mass", "share", "tokens", "error", "price"},
             "refinement ends at mass p2, at a share or number of tokens, at a predicted error, or "
             "where a token removes less squared error than its price"),
      share("share", 0.04,
            "of the visible tokens, refined beside sink and window; with stop: share"),
      integer("tokens", 1024, "refined beside sink and window; with stop: tokens"),
      real("error", 0.05, "predicted relative output error of a head; with stop: error", 1e-9, 1e3),
      real("tail", 3,
           "with stop: error, clusters are refined where one token so many standard deviations "
           "above "
           "its centroid would alone exceed the error; 0 = no such bound",
           0, 10),
      real("price", 1e-6, "squared relative error that one token must remove; with stop: price",
           1e-30, 1e3),
  };
}

RefinementOptions refinement_options(const Parameters& p) {
  RefinementOptions options;
  const auto& order = p.choice("order");
  options.order = order == "error"        ? Order::kError
                  : order == "p2"         ? Order::kP2
                  : order == "similarity" ? Order::kSimilarity
                                          : Order::kMass;
  options.objective = p.choice("objective") == "error"
                          ? RefinementOptions::Objective::kError
                          : RefinementOptions::Objective::kSquaredError;
  const auto& stop = p.choice("stop");
  options.stop = stop == "share"    ? Stop::kShare
                 : stop == "tokens" ? Stop::kTokens
                 : stop == "error"  ? Stop::kError
                 : stop == "price"  ? Stop::kPrice
                                    : Stop::kMass;
  options.share = p.real("share"), options.tokens = p.integer("tokens");
  options.error = p.real("error"), options.price = p.real("price");
  options.tail = p.real("tail");
  return options;
}

VectorD head_votes(const RefinementOptions& options, const MatrixD& squared) {
  VectorD votes = VectorD::Ones(squared.rows());
  if (options.order != Order::kError || options.objective != RefinementOptions::Objective::kError)
    return votes;
  for (Eigen::Index h = 0; h < votes.size(); ++h)
    if (const double all = squared.row(h).sum(); all > 0) votes[h] = 1 / std::sqrt(all);
  return votes;
}

MatrixD refinement_scores(const RefinementOptions& options, const ClusterIndex& index,
                          const QueryGroup& group, const TermErrors& errors) {
  const VectorD sizes = sizes_of(index).cwiseMax(1);
  switch (options.order) {
    case Order::kMass:
      return errors.shares;
    case Order::kError:
      return head_votes(options, errors.weights).asDiagonal() * errors.weights *
             sizes.cwiseInverse().asDiagonal();
    case Order::kP2:
      return errors.shares.cwiseAbs2() * sizes.cwiseAbs2().cwiseInverse().asDiagonal();
    case Order::kSimilarity:
      break;
  }
  MatrixD scores = exact_logits(group, index.centroids().data(), index.num_clusters());
  for (Eigen::Index h = 0; h < scores.rows(); ++h) {
    const double total =
        log_sum_exp({scores.row(h).data(), static_cast<std::size_t>(scores.cols())});
    scores.row(h) = (scores.row(h).array() - total).exp();
  }
  return scores;
}

void charge_refinement(const KvHead& cache, const ExactZone& zone, const ClusterIndex& index,
                       const RefinementOptions& options, KvDtype dtype, GroupSelection& out) {
  const double k = static_cast<double>(index.num_clusters()), n = static_cast<double>(zone.size());
  out.charge_heads(Stage::kSelect, cost::order(k));
  out.charge(Stage::kEstimate, cost::term_errors(k, n, cache.head_dim, dtype));
  if (options.needs_values())
    out.charge(Stage::kEstimate, cost::term_values(k, n, cache.value_dim, dtype));
}

std::vector<RefinementOrder> refinement_orders(const RefinementOptions& options,
                                               NucleusOptions::Gqa gqa, const ClusterIndex& index,
                                               const QueryGroup& group, const MatrixD& scores,
                                               const TermErrors& errors) {
  const Eigen::Index heads = scores.rows(),
                     rows = gqa == NucleusOptions::Gqa::kGroupSum ? heads : 1;
  const bool bounded = options.stop == Stop::kError && options.tail > 0;
  const MatrixD tails = bounded ? tail_errors(index, group, errors, options.tail) : MatrixD();
  std::vector<RefinementOrder> orders;
  for (Eigen::Index first = 0; first < heads; first += rows) {
    RefinementOrder order;
    order.clusters = occupied(scores.middleRows(first, rows).colwise().sum(), index);
    if (bounded) {
      const auto& clusters = order.clusters;
      const auto rest =
          std::stable_partition(order.clusters.begin(), order.clusters.end(), [&](std::int32_t c) {
            return tails.col(c).segment(first, rows).maxCoeff() > options.error;
          });
      order.forced = static_cast<std::size_t>(rest - clusters.begin());
    }
    orders.push_back(std::move(order));
  }
  return orders;
}

std::vector<std::vector<std::int32_t>> refined_clusters(
    const RefinementOptions& options, NucleusOptions::Gqa gqa, const ClusterIndex& index,
    const QueryGroup& group, std::int64_t visible, const MatrixD& scores, const TermErrors& errors,
    const VectorD& factors) {
  std::vector<std::vector<std::int32_t>> sets;
  Eigen::Index first = 0;
  for (RefinementOrder& ordered : refinement_orders(options, gqa, index, group, scores, errors)) {
    const Eigen::Index rows = gqa == NucleusOptions::Gqa::kGroupSum ? scores.rows() : 1;
    auto& order = ordered.clusters;
    std::size_t n = 0;
    switch (options.stop) {
      case Stop::kMass:
        DP_ASSERT(false, "a stop by mass is a nucleus");
        break;
      case Stop::kShare:
      case Stop::kTokens:
        n = prefix_of_tokens(order, index, wanted_tokens(options, visible));
        break;
      case Stop::kError:
        n = prefix_of_error(order, errors.squared.middleRows(first, rows),
                            factors.segment(first, rows), options.error);
        n = std::max(n, ordered.forced);
        break;
      case Stop::kPrice: {
        const VectorD squared = errors.squared.middleRows(first, rows).colwise().sum();
        const auto worth = [&](std::int32_t c) {
          return squared[c] / static_cast<double>(index.size(c)) > options.price;
        };
        n = static_cast<std::size_t>(std::stable_partition(order.begin(), order.end(), worth) -
                                     order.begin());
        break;
      }
    }
    order.resize(n);
    std::sort(order.begin(), order.end());
    sets.insert(sets.end(), static_cast<std::size_t>(rows), order);
    first += rows;
  }
  if (gqa == NucleusOptions::Gqa::kGroupUnion) {
    std::vector<std::int32_t> all;
    for (const auto& set : sets) unite(all, set);
    std::fill(sets.begin(), sets.end(), all);
  }
  return sets;
}

RankingRule::RankingRule(const Parameters& p, KvDtype type)
    : estimator(parse_estimator(p)),
      refinement(refinement_options(p)),
      gqa(nucleus_options(p).gqa),
      shifted(parse_value_shift(p)),
      dtype(type) {}

RankedClusters rank_clusters(const RankingRule& rule, const KvHead& cache, const ExactZone& zone,
                             const ClusterIndex& index, const QueryGroup& group) {
  RankedClusters ranked;
  ranked.log_masses = estimate_log_masses(index, group, rule.estimator);
  ranked.errors = term_errors(cache, zone, group, index, ranked.log_masses,
                              logit_variances(index, group), rule.refinement.needs_values());
  ranked.orders = refinement_orders(rule.refinement, rule.gqa, index, group,
                                    refinement_scores(rule.refinement, index, group, ranked.errors),
                                    ranked.errors);
  ranked.token_votes = head_votes(rule.refinement, ranked.errors.squared);
  return ranked;
}

}  // namespace doublep
