// RetroInfer: clusters in three zones, attended, estimated, dropped (arXiv 2505.02922). Clusters
// are ranked for the whole group by the sum of the heads' softmax(q.C) over centroids, sizes left
// out. Generated tokens are clustered by themselves, a segment at a time, once there are enough of
// them.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/cost/stages.h"
#include "core/index/mass_estimate.h"
#include "core/index/value_shift.h"
#include "core/policy/clustered_cache.h"
#include "core/policy/mass_audit.h"
#include "core/policy/registry.h"
#include "core/selection/top_p.h"

namespace doublep {
namespace {

// All but the last iteration stay within a segment, on centred keys and unit centroids.
ClusteringOptions wave_index(const Parameters& p) {
  ClusteringOptions options = clustering_options(p);
  options.kmeans.normalise = options.centre = options.global_pass = true;
  options.kmeans.iterations = std::max(1, options.kmeans.iterations - 1);
  return options;
}

// A share of n, rounded up: a zone of a positive share is never empty.
std::size_t part_of(double share, std::size_t n) {
  return std::min(n, static_cast<std::size_t>(std::ceil(share * static_cast<double>(n) - 1e-9)));
}

class RetroInfer final : public ClusterPolicy {
 public:
  RetroInfer(const Parameters& p, const PolicyContext& context)
      : ClusterPolicy(p, context, wave_index(p), ClusteredCache::Growth::kAppend),
        retrieval_(p.real("retrieval")),
        estimation_(p.choice("outside") == "estimate" ? 1 : p.real("estimation")),
        shifted_(parse_value_shift(p)) {}

  void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) override {
    const auto& index = clusters_.index();
    const MatrixD log_masses = estimate(group, out);
    const auto order = rank(log_masses, *index, out);
    const std::size_t exact = part_of(retrieval_, order.size()),
                      kept = part_of(retrieval_ + estimation_, order.size());
    std::vector<std::int32_t> estimated(order.begin() + exact, order.begin() + kept);
    std::sort(estimated.begin(), estimated.end());
    for (int h = 0; h < group.size; ++h) {
      Selection& head = out.heads[h];
      head.tokens = exact_tokens(clusters_, {order.data(), exact});
      head.index = index;
      head.target_p = std::numeric_limits<double>::quiet_NaN();
      for (std::int32_t c : estimated) head.terms.push_back({c, log_masses(h, c)});
    }
    if (shifted_) shift_values(group, out);
    auditor_.audit(cache, *index, group, out);
  }

 private:
  // The clusters that have members, highest group sum first.
  std::vector<std::int32_t> rank(const MatrixD& log_masses, const ClusterIndex& index,
                                 GroupSelection& out) const {
    const auto k = static_cast<std::size_t>(index.num_clusters());
    std::vector<double> sums(k, 0.0), logits(k);
    std::size_t occupied = 0;
    for (Eigen::Index h = 0; h < log_masses.rows(); ++h) {
      for (std::size_t c = 0; c < k; ++c) {
        const auto size = static_cast<double>(index.size(static_cast<std::int64_t>(c)));
        logits[c] = log_masses(h, static_cast<Eigen::Index>(c)) - (size > 0 ? std::log(size) : 0);
      }
      const auto masses = relative_masses(logits);
      double total = 0;
      for (double m : masses) total += m;
      for (std::size_t c = 0; c < k && total > 0; ++c) sums[c] += masses[c] / total;
    }
    for (std::size_t c = 0; c < k; ++c) {
      const bool empty = index.size(static_cast<std::int64_t>(c)) == 0;
      if (empty) sums[c] = -1;  // behind every cluster that has members
      occupied += !empty;
    }
    auto order = descending_order(sums);
    order.resize(occupied);
    const double n = static_cast<double>(k), heads = static_cast<double>(log_masses.rows());
    out.charge_heads(Stage::kSelect, cost::order_of_group(n, heads));
    return order;
  }

  double retrieval_, estimation_;
  bool shifted_;
};

}  // namespace

PolicyInfo retroinfer_policy() {
  PolicyInfo info = describe<RetroInfer>(
      "retroinfer", "attends the group's best clusters, estimates the next, drops the rest",
      "RetroInfer, arXiv 2505.02922",
      join({{share("retrieval", 0.018, "share of the clusters that is attended exactly", true),
             share("estimation", 0.232, "share of the clusters that enters as one term each", true),
             choice("outside", "drop", {"drop", "estimate"},
                    "clusters beyond both shares are dropped, or enter as terms too"),
             estimator_param(), value_side_param(), audit_param()},
            clustered_cache_params(16, 10, 8192, 1024)}),
      {.search = SearchKind::kClusters, .grows = true, .per_group = true});
  info.check = [](const Parameters& p) {
    if (p.real("retrieval") + p.real("estimation") > 1 + 1e-12)
      throw ParameterError(
          "estimation",
          concat("policy retroinfer: retrieval (", p.real("retrieval"), ") and estimation (",
                 p.real("estimation"), ") are more than all clusters; lower one of them"));
  };
  return info;
}

}  // namespace doublep
