// vAttention: top-k, and a uniform sample of the rest that is large enough for an error of eps in
// the denominator with confidence 1 - delta (arXiv 2510.05688; one-sided, as in the public code).
// The heavy tokens are those of highest true weight, which takes every key, as an oracle does; or
// of highest weight by product-quantised keys, the kind of predictor that the paper puts in that
// place too. The base sample only sizes the other one, which is drawn afresh: so the estimate has
// no bias.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "core/attention/attend.h"
#include "core/cache/logits.h"
#include "core/cost/stages.h"
#include "core/index/product_quantiser.h"
#include "core/policy/exact_zone.h"
#include "core/policy/registry.h"
#include "core/policy/token_top_k.h"
#include "core/selection/sampling.h"
#include "core/selection/top_p.h"

namespace doublep {
namespace {

class VAttention final : public Policy {
 public:
  VAttention(const Parameters& p, const PolicyContext& context)
      : heavy_(p.budget("heavy")),
        eps_(p.real("eps")),
        z_(normal_quantile(1 - p.real("delta"))),
        base_rate_(p.real("base_rate")),
        sink_(p.integer("sink")),
        window_(p.integer("window")),
        context_(context) {
    if (p.choice("scores") == "pq") keys_.emplace(p, context.kv_dtype);
  }

  void prefill(const KvHead& cache) override {
    if (keys_) keys_->train(cache);
  }
  void append(const KvHead& grown) override {
    if (keys_) keys_->extend(grown);
  }
  IndexCost index_cost() const override { return keys_ ? keys_->cost() : IndexCost(); }

  void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) override {
    const MatrixD logits = exact_logits(group, cache);
    const std::int64_t n = cache.length, heavy = heavy_.of(n);
    const ExactZone zone = ExactZone::of(sink_, window_, n);
    const bool oracle = heavy > 0 && !keys_;
    MatrixD scores = keys_ ? keys_->scores(group) : logits;
    if (oracle) charge_oracle(cache, group, context_.kv_dtype, out);
    if (keys_) keys_->charge(out);
    std::vector<std::int32_t> weighed;  // of the base samples; the certain tokens are attended
    for (int h = 0; h < group.size; ++h) {
      const std::span x(logits.row(h).data(), static_cast<std::size_t>(n));
      const std::span ranked(scores.row(h).data(), static_cast<std::size_t>(n));
      zone.for_each([&](auto j) { ranked[j] = std::numeric_limits<double>::infinity(); });
      const auto base =
          sample_rest(x, top_k(ranked, zone.size() + heavy),
                      static_cast<std::uint64_t>(group.step * group.size + h), out.heads[h]);
      weighed.insert(weighed.end(), base.begin(), base.end());
      if (!oracle)
        out.cost[h][Stage::kEstimate].flops +=
            cost::weigh_keys(static_cast<double>(base.size()), group.head_dim, context_.kv_dtype)
                .flops;
    }
    if (!oracle) charge_weighed_keys(std::move(weighed), group, context_.kv_dtype, out);
  }

 private:
  // `certain`: the tokens attended for sure, sorted; the others are sampled into `head`. Returns
  // the base sample.
  std::vector<std::int32_t> sample_rest(std::span<const double> x,
                                        const std::vector<std::int32_t>& certain,
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
    auto base = uniform_sample(
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
    for (std::int32_t& i : base) i = rest[i];
    return base;
  }

  std::optional<ProductQuantiser> keys_;
  Budget heavy_;
  double eps_, z_, base_rate_;
  std::int64_t sink_, window_;
  PolicyContext context_;
};

}  // namespace

PolicyInfo vattention_policy() {
  PolicyInfo info = describe<VAttention>(
      "vattention", "attends the heaviest tokens and a weighted uniform sample of the rest",
      "vAttention, arXiv 2510.05688",
      join({{budget("heavy", Budget::share(0.05),
                    "tokens of highest weight, beside sink and window"),
             share("eps", 0.05, "relative error of the denominator to stay within"),
             share("delta", 0.05, "probability to miss eps"),
             choice("scores", "exact", {"exact", "pq"},
                    "what the heavy tokens are chosen by: every key, or product-quantised ones"),
             share("base_rate", 0.05, "share of the rest that the sample's size is judged by")},
            quantiser_params(),
            exact_zone_params(128, 128)}),
      {.search = SearchKind::kTokens});
  info.oracle_priced = [](const Parameters& p) {
    return p.budget("heavy").value > 0 && p.choice("scores") == "exact";
  };
  return info;
}

}  // namespace doublep
