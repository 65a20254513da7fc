// Loki: scores through the first principal components of the keys, then top-k (arXiv 2406.02542).
// The components come from the prompt's keys; generated keys are projected onto the same.
#include "core/index/projected_keys.h"
#include "core/policy/registry.h"
#include "core/policy/token_top_k.h"

namespace doublep {
namespace {

class Loki final : public Policy {
 public:
  Loki(const Parameters& p, const PolicyContext& context)
      : labels_(context.kv_dtype),
        rank_(p.integer("rank") > 0 ? p.integer("rank") : 32),
        budget_(p.budget("budget")),
        sink_(p.integer("sink")),
        window_(p.integer("window")),
        dtype_(context.kv_dtype) {}

  void prefill(const KvHead& cache) override {
    const double n = static_cast<double>(cache.length), d = cache.head_dim;
    labels_.set_basis(
        principal_components(ConstMapF(cache.keys, cache.length, cache.head_dim), rank_));
    labels_.extend(cache);
    // Covariance, and an eigenvalue decomposition of about 9 d^3 (Golub & Van Loan, section 8.3).
    pca_ = Work{n * d * bytes_of(dtype_), 2 * n * d * d + 9 * d * d * d};
  }
  void append(const KvHead& grown) override { labels_.extend(grown); }
  IndexCost index_cost() const override {
    IndexCost cost = labels_.cost();
    cost.build += pca_;
    return cost;
  }

  void select(const KvHead&, const QueryGroup& group, GroupSelection& out) override {
    labels_.charge(out);
    select_top_k(labels_.scores(group), budget_, sink_, window_, out);
  }

 private:
  ProjectedKeys labels_;
  std::int64_t rank_;
  Budget budget_;
  std::int64_t sink_, window_;
  KvDtype dtype_;
  Work pca_;
};

}  // namespace

PolicyInfo loki_policy() {
  return describe<Loki>(
      "loki", "attends the tokens of highest score along the keys' first principal components",
      "Loki, arXiv 2406.02542",
      join({{token_budget(Budget::share(0.25)),
             within_head_dim(integer("rank", 0,
                                     "principal components; 0 = 32, or head_dim where that is "
                                     "less"))},
            exact_zone_params(0, 0)}),
      {.search = SearchKind::kTokens, .grows = true});
}

}  // namespace doublep
