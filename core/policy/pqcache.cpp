// PQCache: scores from product-quantised keys, then top-k (arXiv 2407.12820).
#include "core/index/product_quantiser.h"
#include "core/policy/registry.h"
#include "core/policy/token_top_k.h"

namespace doublep {
namespace {

class PqCache final : public Policy {
 public:
  PqCache(const Parameters& p, const PolicyContext& context)
      : keys_(p.integer("subvectors"), static_cast<int>(p.integer("bits")),
              static_cast<int>(p.integer("iterations")), context.kv_dtype),
        budget_(p.real("budget")),
        sink_(p.integer("sink")),
        window_(p.integer("window")) {}

  void prefill(const KvHead& cache) override { keys_.train(cache); }
  void append(const KvHead& grown) override { keys_.extend(grown); }
  IndexCost index_cost() const override { return keys_.cost(); }

  void select(const KvHead&, const QueryGroup& group, GroupSelection& out) override {
    double table_flops = 0;
    for (std::int64_t part = 0; part < keys_.parts(); ++part)
      table_flops += 2.0 * static_cast<double>(keys_.centroids(part).size());
    const double look_ups = static_cast<double>(keys_.parts() * keys_.length());
    out.charge(Stage::kEstimate, keys_.centroid_bytes() + keys_.code_bytes(),
               table_flops + look_ups);
    select_top_k(keys_.scores(group), budget_, sink_, window_, out);
  }

 private:
  ProductQuantiser keys_;
  double budget_;
  std::int64_t sink_, window_;
};

}  // namespace

PolicyInfo pqcache_policy() {
  return describe<PqCache>(
      "pqcache", "attends the tokens of highest score by product-quantised keys",
      "PQCache, arXiv 2407.12820",
      join({{budget("budget", 0.1, "tokens in all; below 1 a share of the visible ones"),
             integer("subvectors", 2, "parts a key is cut into; at most head_dim", 1),
             integer("bits", 6, "bits of a part's code: 2^bits centroids", 1, 16),
             integer("iterations", 10, "k-means iterations", 1, 1000)},
            exact_zone_params()}),
      {.search = SearchKind::kCodes, .grows = true});
}

}  // namespace doublep
