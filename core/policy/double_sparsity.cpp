// Double Sparsity: scores through the channels that matter most, then top-k (arXiv 2408.07092).
// The paper calibrates channels offline by the mean of |q_c k_c|. Here the keys are the prompt's
// and the queries those of the first step, which stand in for the prompt's own: the mean over both
// is the product of the means. The channels stay as they are then chosen. A key's label is kept in
// few bits, as published: 16 channels of 4 bits, or for Llama 64 of 2 bits chosen by |q| alone.
#include <algorithm>

#include "core/index/projected_keys.h"
#include "core/policy/registry.h"
#include "core/policy/token_top_k.h"
#include "core/selection/top_p.h"

namespace doublep {
namespace {

class DoubleSparsity final : public Policy {
 public:
  DoubleSparsity(const Parameters& p, const PolicyContext& context)
      : labels_(context.kv_dtype, static_cast<int>(p.integer("label_bits"))),
        channels_(p.integer("channels")),
        by_query_(p.choice("calibration") != "k"),
        by_key_(p.choice("calibration") != "q"),
        budget_(p.budget("budget")),
        sink_(p.integer("sink")),
        window_(p.integer("window")),
        dtype_(context.kv_dtype) {}

  void prefill(const KvHead& cache) override {
    means_ = Eigen::RowVectorXd::Ones(cache.head_dim);
    if (by_key_) {
      means_.setZero();
      for (std::int64_t j = 0; j < cache.length; ++j)
        means_ += ConstRowF(cache.key(j), cache.head_dim).cast<double>().cwiseAbs();
      means_ /= static_cast<double>(cache.length);
      const double elements = static_cast<double>(cache.length) * cache.head_dim;
      calibration_ = Work{elements * bytes_of(dtype_), 2 * elements};
    }
    label(cache);
    calibrated_ = !by_query_;
  }
  void append(const KvHead& grown) override { labels_.extend(grown); }
  IndexCost index_cost() const override {
    IndexCost cost = labels_.cost();
    cost.build += calibration_;
    return cost;
  }

  void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) override {
    if (!calibrated_) {
      const ConstMapF queries(group.queries, group.size, group.head_dim);
      means_ = means_.cwiseProduct(queries.cast<double>().cwiseAbs().colwise().mean());
      const Work charged = labels_.cost().build;  // labelling is the prompt's work, once
      label(cache);
      const Work again = labels_.cost().build;
      calibration_ += Work{charged.bytes - again.bytes, charged.flops - again.flops};
      calibrated_ = true;
    }
    labels_.charge(out);
    select_top_k(labels_.scores(group), budget_, sink_, window_, out);
  }

 private:
  void label(const KvHead& cache) {
    const std::int64_t d = cache.head_dim,
                       r = channels_ > 0 ? channels_ : std::max<std::int64_t>(d / 8, 1);
    const auto best = top_k({means_.data(), static_cast<std::size_t>(d)}, r);
    MatrixD basis = MatrixD::Zero(d, static_cast<Eigen::Index>(best.size()));
    for (std::size_t i = 0; i < best.size(); ++i) basis(best[i], static_cast<Eigen::Index>(i)) = 1;
    labels_.set_basis(std::move(basis));
    labels_.extend(cache);
  }

  ProjectedKeys labels_;
  std::int64_t channels_;
  bool by_query_, by_key_, calibrated_ = false;
  Budget budget_;
  std::int64_t sink_, window_;
  KvDtype dtype_;
  Eigen::RowVectorXd means_;  // per channel, of what the calibration names, once it is known
  Work calibration_;
};

}  // namespace

PolicyInfo double_sparsity_policy() {
  return describe<DoubleSparsity>(
      "double_sparsity", "attends the tokens of highest score in the channels that matter most",
      "Double Sparsity, arXiv 2408.07092",
      join({{token_budget(Budget::count(1024)),
             within_head_dim(integer("channels", 0, "channels read of each key; 0 = head_dim / 8")),
             integer("label_bits", 4, "bits a channel of a label; 0 = the cache's type", 0, 8),
             choice("calibration", "qk", {"qk", "q", "k"},
                    "channels by the mean of |q k|, |q| or |k| over the prompt")},
            exact_zone_params()}),
      {.search = SearchKind::kTokens, .grows = true});
}

}  // namespace doublep
