// vAttention: top-k, and a uniform sample of the rest that is large enough for an error of eps in
// the denominator with confidence 1 - delta (arXiv 2510.05688). The heavy tokens are those of
// highest true weight, which takes every key (heavy: 0 reads the samples only); the paper also puts
// cheaper predictors in that place. The base sample only sizes the other one, which is drawn
// afresh: so the estimate has no bias.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/cache/logits.h"
#include "core/cost/stages.h"
#include "core/policy/exact_zone.h"
#include "core/policy/oracle.h"
#include "core/policy/registry.h"
#include "core/selection/sampling.h"
#include "core/selection/top_k.h"

namespace doublep {
namespace {

class VAttention final : public Policy {
 public:
  VAttention(const Parameters& p, const PolicyContext& context)
      : heavy_(p.real("heavy")),
        eps_(p.real("eps")),
        z_(normal_quantile(1 - p.real("delta") / 2)),
        base_rate_(p.real("base_rate")),
        sink_(p.integer("sink")),
        window_(p.integer("window")),
        context_(context) {}

  void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) override {
    const MatrixD logits = exact_logits(group, cache);
    const std::int64_t n = cache.length, heavy = budget_tokens(heavy_, n);
    const ExactZone zone = ExactZone::of(sink_, window_, n);
    if (heavy > 0)
      charge_oracle(cache, group, context_.kv_dtype, out);
    else  // the base sample's keys are read beside the zone's
      out.charge(Stage::kEstimate, cost::weigh_keys(static_cast<double>(zone.size()),
                                                    group.head_dim, context_.kv_dtype));
    for (int h = 0; h < group.size; ++h) {
      const double* x = logits.row(h).data();
      std::vector<double> forced(x, x + n);
      zone.for_each([&](auto j) { forced[j] = std::numeric_limits<double>::infinity(); });
      const double base =
          sample_rest({x, static_cast<std::size_t>(n)}, top_k(forced, zone.size() + heavy),
                      static_cast<std::uint64_t>(group.step * group.size + h), out.heads[h]);
      if (heavy == 0)
        out.cost[h][Stage::kEstimate] += cost::weigh_keys(base, group.head_dim, context_.kv_dtype);
    }
  }

 private:
  // `certain`: the tokens attended for sure, sorted; the others are sampled into `head`. Returns
  // the size of the base sample.
  double sample_rest(std::span<const double> x, const std::vector<std::int32_t>& certain,
                     std::uint64_t draw, Selection& head) const {
    std::vector<std::int32_t> rest;
    for (std::int32_t j = 0, c = 0; j < static_cast<std::int32_t>(x.size()); ++j)
      if (c < static_cast<std::int32_t>(certain.size()) && certain[c] == j)
        ++c;
      else
        rest.push_back(j);
    const auto n = static_cast<std::int64_t>(rest.size());
    const auto stream = [&](std::uint64_t i) {
      return CounterRng(context_.seed, context_.layer, context_.kv_head, 2 * draw + i);
    };
    const auto base = uniform_sample(
        n, static_cast<std::int64_t>(std::ceil(base_rate_ * static_cast<double>(n))), stream(0));
    std::vector<double> certain_logits, base_logits;
    for (std::int32_t j : certain) certain_logits.push_back(x[j]);
    for (std::int32_t i : base) base_logits.push_back(x[rest[i]]);
    const auto sample =
        uniform_sample(n, sample_size(certain_logits, base_logits, n, z_, eps_), stream(1));
    const auto weight = static_cast<float>(
        std::log(static_cast<double>(n) / std::max<double>(1, static_cast<double>(sample.size()))));
    head.target_p = std::numeric_limits<double>::quiet_NaN();
    std::size_t s = 0;
    const auto take_samples_before = [&](std::int32_t end) {
      for (; s < sample.size() && rest[sample[s]] < end; ++s) {
        head.tokens.push_back(rest[sample[s]]);
        head.log_weights.push_back(weight);
      }
    };
    for (std::int32_t j : certain) {
      take_samples_before(j);
      head.tokens.push_back(j);
      head.log_weights.push_back(0);
    }
    take_samples_before(static_cast<std::int32_t>(x.size()));
    return static_cast<double>(base.size());
  }

  double heavy_, eps_, z_, base_rate_;
  std::int64_t sink_, window_;
  PolicyContext context_;
};

}  // namespace

PolicyInfo vattention_policy() {
  return describe<VAttention>(
      "vattention", "attends the heaviest tokens and a weighted uniform sample of the rest",
      "vAttention, arXiv 2510.05688",
      join({{budget("heavy", 0.05, "tokens by true weight; below 1 a share of the visible ones"),
             share("eps", 0.05, "relative error of the denominator to stay within"),
             share("delta", 0.05, "probability to miss eps"),
             share("base_rate", 0.05, "share of the rest that the sample's size is judged by")},
            exact_zone_params(128, 128)}),
      {.search = SearchKind::kTokens});
}

}  // namespace doublep
