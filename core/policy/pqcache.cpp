// PQCache: scores from product-quantised keys, then top-k (arXiv 2407.12820). As in the public code
// a KV head has one selection, by the sum over its group of the heads' softmax, and a part of the
// budget goes to the latest tokens.
#include <algorithm>

#include "core/index/product_quantiser.h"
#include "core/policy/registry.h"
#include "core/policy/token_top_k.h"
#include "core/selection/top_p.h"

namespace doublep {
namespace {

// The heads' softmax over all tokens, summed: [1, tokens].
MatrixD summed_softmax(const MatrixD& scores) {
  MatrixD sum = MatrixD::Zero(1, scores.cols());
  for (Eigen::Index h = 0; h < scores.rows(); ++h) {
    const auto masses =
        relative_masses({scores.row(h).data(), static_cast<std::size_t>(scores.cols())});
    const Eigen::Map<const Eigen::RowVectorXd> m(masses.data(), scores.cols());
    sum += m / m.sum();  // the largest is 1
  }
  return sum;
}

class PqCache final : public Policy {
 public:
  PqCache(const Parameters& p, const PolicyContext& context)
      : keys_(p, context.kv_dtype),
        budget_(p.budget("budget")),
        recent_(p.real("recent")),
        per_head_(p.choice("gqa") == "per_head"),
        sink_(p.integer("sink")),
        window_(p.integer("window")) {}

  void prefill(const KvHead& cache) override { keys_.train(cache); }
  void append(const KvHead& grown) override { keys_.extend(grown); }
  IndexCost index_cost() const override { return keys_.cost(); }

  void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) override {
    keys_.charge(out);
    const auto latest =
        static_cast<std::int64_t>(recent_ * static_cast<double>(budget_.of(cache.length)));
    const std::int64_t window = std::max(window_, latest);
    const MatrixD scores = keys_.scores(group);
    if (per_head_) return select_top_k(scores, budget_, sink_, window, out);
    const double n = static_cast<double>(cache.length);
    out.charge(Stage::kSelect, 4 * n * group.size, 3 * n);
    select_top_k(summed_softmax(scores), budget_, sink_, window, out);
  }

 private:
  ProductQuantiser keys_;
  Budget budget_;
  double recent_;
  bool per_head_;
  std::int64_t sink_, window_;
};

}  // namespace

PolicyInfo pqcache_policy() {
  return describe<PqCache>(
      "pqcache", "attends the latest tokens and those of highest score by product-quantised keys",
      "PQCache, arXiv 2407.12820",
      join({{token_budget(Budget::share(0.1)),
             share("recent", 0.5, "share of the budget for the latest tokens", true),
             choice(
                 "gqa", "group_sum", {"group_sum", "per_head"},
                 "one selection per KV head, by the heads' summed softmax, or one per query head")},
            quantiser_params(),
            exact_zone_params(32, 0)}),
      {.search = SearchKind::kCodes, .grows = true});
}

}  // namespace doublep
