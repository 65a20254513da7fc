// Tactic: tokens by the order of their clusters, as many as a fitted curve says hold mass p (arXiv
// 2502.12216). Clusters are sorted by q.C; the weight of the x-th token of that order is taken to
// be y = a/x + b. The curve goes through the mean weight of two short runs of sampled tokens, at 10
// % and 60 % of the order by default; the curve is poor at its head, which is therefore weighed
// exactly.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/attention/attend.h"
#include "core/cache/logits.h"
#include "core/cost/stages.h"
#include "core/index/mass_estimate.h"
#include "core/policy/clustered_cache.h"
#include "core/policy/mass_audit.h"
#include "core/policy/registry.h"
#include "core/selection/curve_fit.h"
#include "core/selection/top_p.h"

namespace doublep {
namespace {

class Tactic final : public ClusterPolicy {
 public:
  Tactic(const Parameters& p, const PolicyContext& context)
      : ClusterPolicy(p, context),
        p_(p.real("p")),
        head_(p.budget("head")),
        sample_(p.budget("sample")),
        places_{p.real("place_1"), p.real("place_2")},
        union_(p.choice("gqa") == "group_union") {}

  void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) override {
    const ClusterIndex& index = *clusters_.index();
    const MatrixD log_masses = estimate(group, out);
    std::vector<std::int32_t> read;  // tokens whose keys any head weighed
    std::vector<std::vector<std::int32_t>> chosen(group.size);
    for (int h = 0; h < group.size; ++h) chosen[h] = prefix(cache, group, h, log_masses, read, out);
    if (union_) {
      std::vector<std::int32_t> all;
      for (const auto& clusters : chosen) all.insert(all.end(), clusters.begin(), clusters.end());
      std::sort(all.begin(), all.end());
      all.erase(std::unique(all.begin(), all.end()), all.end());
      std::fill(chosen.begin(), chosen.end(), all);
    }
    for (int h = 0; h < group.size; ++h) {
      out.heads[h].tokens = exact_tokens(clusters_, chosen[h]);
      out.heads[h].target_p = p_;
    }
    charge_weighed_keys(std::move(read), group, dtype_, out);
    auditor_.audit(cache, index, group, out);
  }

 private:
  // The clusters of one head that hold mass p together with the exact zone, whole ones.
  std::vector<std::int32_t> prefix(const KvHead& cache, const QueryGroup& group, int h,
                                   const MatrixD& log_masses, std::vector<std::int32_t>& read,
                                   GroupSelection& out) const {
    const ClusterIndex& index = *clusters_.index();
    std::vector<double>
        scores;  // q.C, that is without the size; -infinity where there is no member
    for (std::int64_t c = 0; c < index.num_clusters(); ++c)
      scores.push_back(log_masses(h, c) - std::log(std::max<double>(1, index.size(c))));
    auto order = descending_order(scores);
    std::vector<std::int32_t> tokens;
    for (std::int32_t c : order)
      tokens.insert(tokens.end(), index.members(c).begin(), index.members(c).end());

    const auto weigh = [&](std::int64_t begin, std::int64_t end) {
      std::vector<double> logits;
      for (std::int64_t i = begin; i < end; ++i)
        logits.push_back(logit(cache, group, h, tokens[i]));
      read.insert(read.end(), tokens.begin() + begin, tokens.begin() + end);
      return logits;
    };
    const auto n = static_cast<std::int64_t>(tokens.size());
    CurveSamples samples;
    samples.length = n;
    samples.head = weigh(0, head_.of(n));
    for (double place : places_) {
      const std::int64_t size = std::min(n, std::max<std::int64_t>(sample_.of(n), 16)),
                         begin = std::min(n - size, static_cast<std::int64_t>(place * n));
      samples.runs.push_back({begin, weigh(begin, begin + size)});
    }
    clusters_.exact().for_each([&](auto j) { samples.held.push_back(logit(cache, group, h, j)); });
    // The zone is attended in any case: its logits are charged there.
    const double weighed = static_cast<double>(samples.size() - samples.held.size()),
                 k = static_cast<double>(order.size());
    out.cost[h][Stage::kEstimate] +=
        Work{0, cost::weigh_keys(weighed, group.head_dim, dtype_).flops};
    Work order_and_sizes = cost::order(k);
    order_and_sizes.flops += 2.0 * static_cast<double>(n);
    out.cost[h][Stage::kSelect] += order_and_sizes;

    std::int64_t wanted = fitted_prefix(samples, p_);
    std::size_t taken = 0;
    for (; taken < order.size() && wanted > 0; ++taken) wanted -= index.size(order[taken]);
    order.resize(taken);
    return order;
  }

  static double logit(const KvHead& cache, const QueryGroup& group, int h, std::int32_t token) {
    return group.softmax_scale *
           ConstRowF(group.query(h), group.head_dim)
               .cast<double>()
               .dot(ConstRowF(cache.key(token), group.head_dim).cast<double>());
  }

  double p_;
  Budget head_, sample_;
  double places_[2];
  bool union_;
};

}  // namespace

PolicyInfo tactic_policy() {
  PolicyInfo info = describe<Tactic>(
      "tactic", "attends clusters in order of q.C, as many as a fitted curve says hold mass p",
      "Tactic, arXiv 2502.12216",
      join({{share("p", 0.9, "mass to hold, sink and window included"),
             budget("head", Budget::share(0.02), "first tokens of the order weighed exactly"),
             budget("sample", Budget::share(0.01), "tokens a sampled run, at least 16"),
             share("place_1", 0.1, "where the first run begins, as a share of the order", true),
             share("place_2", 0.6, "where the second run begins", true),
             choice("gqa", "group_union", {"group_union", "per_head"},
                    "the union of the group's selections, or one per query head"),
             estimator_param(), audit_param()},
            clustered_cache_params(32)}),
      {.search = SearchKind::kClusters});
  info.check = [](const Parameters& p) {
    if (p.real("place_1") > p.real("place_2"))
      throw ParameterError("place_2", concat("policy tactic: place_2 (", p.real("place_2"),
                                             ") lies before place_1 (", p.real("place_1"),
                                             "); the second run begins no earlier"));
  };
  return info;
}

}  // namespace doublep
