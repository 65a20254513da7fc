// The smallest set of tokens whose true mass reaches p: what a perfect top-p selector would attend.
#include "core/cache/logits.h"
#include "core/policy/exact_zone.h"
#include "core/policy/registry.h"
#include "core/policy/token_top_k.h"
#include "core/selection/top_p.h"

namespace doublep {
namespace {

class OracleTopP final : public Policy {
 public:
  OracleTopP(const Parameters& p, const PolicyContext& context)
      : p_(p.real("p")),
        sink_(p.integer("sink")),
        window_(p.integer("window")),
        dtype_(context.kv_dtype) {}

  void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) override {
    const ExactZone zone = ExactZone::of(sink_, window_, cache.length);
    const MatrixD logits = exact_logits(group, cache);
    charge_oracle(cache, group, dtype_, out);
    for (int h = 0; h < group.size; ++h) {
      auto masses = relative_masses({logits.row(h).data(), static_cast<std::size_t>(cache.length)});
      double total = 0, held = 0;
      for (double m : masses) total += m;
      Selection& head = out.heads[h];
      zone.for_each([&](auto j) {  // forced tokens count towards p, and are not offered again
        head.tokens.push_back(j);
        held += masses[j], masses[j] = 0;
      });
      unite(head.tokens, top_p_set(masses, p_, total, held));
      head.target_p = p_;
    }
  }

 private:
  double p_;
  std::int64_t sink_, window_;
  KvDtype dtype_;
};

}  // namespace

PolicyInfo oracle_top_p_policy() {
  PolicyInfo info = describe<OracleTopP>(
      "oracle_top_p", "attends the smallest set of tokens whose true mass reaches p", "oracle",
      join({{share("p", 0.95, "mass to hold")}, exact_zone_params(0, 0)}),
      {.search = SearchKind::kTokens});
  info.oracle_priced = [](const Parameters&) { return true; };
  return info;
}

}  // namespace doublep
