// The tokens of highest true weight up to a budget: what a perfect top-k selector would attend.
#include <algorithm>
#include <limits>

#include "core/cache/logits.h"
#include "core/policy/exact_zone.h"
#include "core/policy/registry.h"
#include "core/policy/token_top_k.h"
#include "core/selection/top_p.h"

namespace doublep {
namespace {

class OracleTopK final : public Policy {
 public:
  OracleTopK(const Parameters& p, const PolicyContext& context)
      : budget_(p.budget("budget")),
        sink_(p.integer("sink")),
        window_(p.integer("window")),
        dtype_(context.kv_dtype) {}

  void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) override {
    const ExactZone zone = ExactZone::of(sink_, window_, cache.length);
    const std::int64_t budget = tokens_in_all(budget_, zone);
    MatrixD logits = exact_logits(group, cache);
    charge_oracle(cache, group, dtype_, out);
    for (int h = 0; h < group.size; ++h) {
      double* x = logits.row(h).data();
      zone.for_each([&](auto j) { x[j] = std::numeric_limits<double>::infinity(); });
      out.heads[h].tokens = top_k({x, static_cast<std::size_t>(cache.length)}, budget);
      out.heads[h].target_p = std::numeric_limits<double>::quiet_NaN();
    }
  }

 private:
  Budget budget_;
  std::int64_t sink_, window_;
  KvDtype dtype_;
};

}  // namespace

PolicyInfo oracle_top_k_policy() {
  PolicyInfo info = describe<OracleTopK>(
      "oracle_top_k", "attends sink, window and the tokens of highest true weight up to a budget",
      "oracle", join({{token_budget(Budget::count(1024))}, exact_zone_params()}),
      {.search = SearchKind::kTokens});
  info.oracle_priced = [](const Parameters&) { return true; };
  return info;
}

}  // namespace doublep
