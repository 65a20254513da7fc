// Twilight: a base policy proposes tokens, keys of 4 bits weigh them, top-p prunes (arXiv
// 2502.02770). What the base forces (sink and window) counts towards p like any other proposal, and
// is attended whatever p says.
#include <algorithm>
#include <cmath>

#include "core/cache/logits.h"
#include "core/cost/stages.h"
#include "core/index/quantiser.h"
#include "core/policy/exact_zone.h"
#include "core/policy/registry.h"
#include "core/selection/top_p.h"

namespace doublep {
namespace {

const PolicyInfo& base_of(const Parameters& p) {
  return PolicyRegistry::instance().find(p.choice("base"));
}

Parameters base_parameters(const Parameters& p) {
  const PolicyInfo& base = base_of(p);
  std::map<std::string, ParamValue> given = {{"budget", p.values().at("base_budget")},
                                             {"sink", p.integer("sink")},
                                             {"window", p.integer("window")}};
  if (base.name == "quest")
    given.emplace("page_size", p.integer("page_size"));
  else
    given.emplace("channels", p.integer("channels"));
  return resolve(base, given);
}

class Twilight final : public Policy {
 public:
  Twilight(const Parameters& p, const PolicyContext& context)
      : base_(base_of(p).create(base_parameters(p), context)),
        keys_(static_cast<int>(p.integer("bits")), context.kv_dtype),
        p_(p.real("p")),
        sink_(p.integer("sink")),
        window_(p.integer("window")) {}

  void prefill(const KvHead& cache) override { base_->prefill(cache), keys_.extend(cache); }
  void append(const KvHead& grown) override { base_->append(grown), keys_.extend(grown); }
  IndexCost index_cost() const override {
    IndexCost cost = base_->index_cost(), keys = keys_.cost();
    return {cost.memory_bytes + keys.memory_bytes, cost.build += keys.build};
  }

  void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) override {
    base_->select(cache, group, out);
    const ExactZone zone = ExactZone::of(sink_, window_, cache.length);
    std::vector<std::int32_t> read;  // quantised keys are read once for the whole group
    for (int h = 0; h < group.size; ++h) {
      auto& tokens = out.heads[h].tokens;
      read.insert(read.end(), tokens.begin(), tokens.end());
      prune(group, h, zone, out);
    }
    std::sort(read.begin(), read.end());
    const auto distinct = std::unique(read.begin(), read.end()) - read.begin();
    out.charge(Stage::kEstimate, static_cast<double>(distinct) * keys_.bytes_per_token(), 0);
  }

 private:
  void prune(const QueryGroup& group, int h, const ExactZone& zone, GroupSelection& out) const {
    Selection& head = out.heads[h];
    const std::size_t n = head.tokens.size();
    const int d = group.head_dim;
    MatrixF decoded(static_cast<Eigen::Index>(n), d);
    for (std::size_t i = 0; i < n; ++i) keys_.decode(head.tokens[i], decoded.data() + i * d);
    QueryGroup one = group;
    one.queries = group.query(h), one.size = 1;
    const MatrixD logits = exact_logits(one, decoded.data(), static_cast<std::int64_t>(n));
    const auto masses = relative_masses({logits.data(), n});
    double total = 0;
    for (double m : masses) total += m;
    const auto taken = top_p_set(masses, p_, total);
    std::vector<std::int32_t> kept;
    for (std::size_t i = 0, next = 0; i < n; ++i) {
      const bool top = next < taken.size() && taken[next] == static_cast<std::int32_t>(i);
      next += top;
      if (top || zone.contains(head.tokens[i])) kept.push_back(head.tokens[i]);
    }
    head.tokens = std::move(kept);
    head.target_p = p_;
    const double count = static_cast<double>(n);
    out.cost[h][Stage::kEstimate] += Work{0, cost::weigh_quantised_flops(count, d)};
    out.cost[h][Stage::kSelect] += cost::order(count);
  }

  std::unique_ptr<Policy> base_;
  QuantisedKeys keys_;
  double p_;
  std::int64_t sink_, window_;
};

}  // namespace

PolicyInfo twilight_policy() {
  PolicyInfo info = describe<Twilight>(
      "twilight", "prunes a base policy's tokens to the mass p that quantised keys give them",
      "Twilight, arXiv 2502.02770",
      join({{share("p", 0.85, "mass to keep of the tokens that the base policy proposes"),
             choice("base", "quest", {"quest", "double_sparsity"}, "the policy that proposes"),
             budget("base_budget", Budget::share(0.25), "its budget"),
             integer("bits", 4, "bits per element of the quantised keys", 1, 8),
             integer("page_size", 16, "tokens a page, for quest", 1),
             within_head_dim(
                 integer("channels", 0, "channels, for double_sparsity; 0 = head_dim / 8"))},
            exact_zone_params()}),
      {.search = SearchKind::kTokens, .grows = true});
  info.check = [](const Parameters& p) {
    try {
      base_parameters(p);
    } catch (const ParameterError& e) {
      throw ParameterError(e.parameter == "budget" ? "base_budget" : e.parameter,
                           concat("policy twilight, its base: ", e.what()));
    }
  };
  return info;
}

}  // namespace doublep
