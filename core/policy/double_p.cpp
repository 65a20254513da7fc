// Double-P: hierarchical top-p over clusters (arXiv 2602.05191).
#include <algorithm>
#include <numeric>

#include "core/base/error.h"
#include "core/cost/stages.h"
#include "core/index/mass_estimate.h"
#include "core/index/value_shift.h"
#include "core/policy/cluster_nucleus.h"
#include "core/policy/clustered_cache.h"
#include "core/policy/head_kinds.h"
#include "core/policy/mass_audit.h"
#include "core/policy/promise_learner.h"
#include "core/policy/refinement.h"
#include "core/policy/registry.h"

namespace doublep {
namespace {

class DoubleP final : public Policy {
 public:
  DoubleP(const Parameters& p, const PolicyContext& context)
      : clusters_(p, context.kv_dtype),
        estimator_(parse_estimator(p)),
        nucleus_(nucleus_options(p)),
        refinement_(refinement_options(p)),
        shares_{p.real("p1"), p.real("p2")},
        estimate_outside_(p.choice("outside") == "estimate"),
        shifted_(parse_value_shift(p)),
        guarantee_(p.real("guarantee")),
        auditor_(p, context),
        learner_(p, context.kv_dtype),
        kinds_(p, context.kv_dtype),
        dtype_(context.kv_dtype) {
    refinement_.calibrated = learner_.active();
  }

  void prefill(const KvHead& cache) override {
    clusters_.prefill(cache);
    if (!kinds_.promises())
      learner_.prefill(cache, clusters_.exact(), clusters_.index()->num_clusters());
    kinds_.prefill(cache, clusters_);
  }
  void append(const KvHead& grown) override { clusters_.append(grown); }
  IndexCost index_cost() const override {
    IndexCost cost = clusters_.cost();
    cost.build += learner_.cost();
    kinds_.add_to(cost);
    return cost;
  }

  std::shared_ptr<const ClusterIndex> stored_clusters() const override { return clusters_.index(); }

  std::vector<std::string_view> head_kinds() const override { return kinds_.names(); }

  void select(const KvHead& cache, const QueryGroup& group, GroupSelection& out) override {
    clusters_.observe(group);
    const auto& index = clusters_.index();
    if (kinds_.select(cache, clusters_, group, out))
      return auditor_.audit(cache, *index, group, out);
    const MatrixD log_masses = estimate_log_masses(*index, group, estimator_);
    charge_estimate(*index, group, estimator_, dtype_, out);
    if (learner_.wants_step()) return attend_all(cache, group, out);
    learner_.learn_from_prompt(cache, clusters_.exact(), index, group);
    const auto sets = choose(cache, group, log_masses, out);
    for (int h = 0; h < group.size; ++h) {
      const auto &kept = sets[h][0], &refined = sets[h][1];
      Selection& head = out.heads[h];
      head.tokens = exact_tokens(clusters_, refined);
      head.index = index;
      head.target_p = shares_[0];
      const auto enter = [&](std::int32_t c) {
        if (index->size(c) > 0 && !std::binary_search(refined.begin(), refined.end(), c))
          head.terms.push_back({c, log_masses(h, c)});
      };
      if (estimate_outside_)
        for (std::int32_t c = 0; c < index->num_clusters(); ++c) enter(c);
      else
        for (std::int32_t c : kept) enter(c);
    }
    if (shifted_) shift_values(group, out);
    promise(group, out);
    if (guarantee_ > 0) {
      refine_until_covered(auditor_, cache, *index, group, guarantee_, out);
      for (Selection& head : out.heads) head.target_p = guarantee_;
    } else {
      auditor_.audit(cache, *index, group, out);
    }
  }

 private:
  bool by_error() const { return refinement_.stop == RefinementOptions::Stop::kError; }

  void promise(const QueryGroup& group, GroupSelection& out) const {
    if (!by_error()) return;
    const VectorD factors = learner_.factors(group.size);
    for (int h = 0; h < group.size; ++h)
      out.heads[h].target_error = refinement_.error, out.heads[h].error_factor = factors[h];
  }

  void attend_all(const KvHead& cache, const QueryGroup& group, GroupSelection& out) {
    learner_.learn_from_step(cache, clusters_.exact(), clusters_.index(), group);
    charge_refinement(cache, clusters_.exact(), *clusters_.index(), refinement_, dtype_, out);
    for (Selection& head : out.heads) {
      head.tokens.resize(cache.length);
      std::iota(head.tokens.begin(), head.tokens.end(), 0);
      head.target_p = 1, head.target_error = refinement_.error;
    }
    auditor_.audit(cache, *clusters_.index(), group, out);
  }

  /// What every head keeps and refines.
  std::vector<std::vector<std::vector<std::int32_t>>> choose(const KvHead& cache,
                                                             const QueryGroup& group,
                                                             const MatrixD& log_masses,
                                                             GroupSelection& out) const {
    const ClusterIndex& index = *clusters_.index();
    const ExactZone& zone = clusters_.exact();
    if (refinement_.by_mass())
      return cluster_nuclei(cache, zone, group, log_masses, shares_, nucleus_, dtype_, out);
    const TermErrors errors =
        term_errors(cache, zone, group, index, log_masses, logit_variances(index, group),
                    refinement_.needs_values());
    charge_refinement(cache, zone, index, refinement_, dtype_, out);
    const MatrixD scores = refinement_scores(refinement_, index, group, errors);
    if (refinement_.stop == RefinementOptions::Stop::kMass)
      return cluster_nuclei(cache, zone, group, log_masses, shares_, nucleus_, dtype_, out, &scores,
                            &errors.zone_log_masses);
    const auto refined = refined_clusters(refinement_, nucleus_.gqa, index, group, cache.length,
                                          scores, errors, learner_.factors(group.size));
    std::vector<std::vector<std::vector<std::int32_t>>> sets(group.size);
    if (!estimate_outside_)
      sets = cluster_nuclei(cache, zone, group, log_masses, {shares_, 1}, nucleus_, dtype_, out,
                            nullptr, &errors.zone_log_masses);
    for (int h = 0; h < group.size; ++h) {
      if (estimate_outside_) sets[h].emplace_back();  // every cluster is kept
      sets[h].push_back(refined[h]);
    }
    return sets;
  }

  ClusteredCache clusters_;
  Estimator estimator_;
  NucleusOptions nucleus_;
  RefinementOptions refinement_;
  double shares_[2];  // p1, p2
  bool estimate_outside_, shifted_;
  double guarantee_;
  MassAuditor auditor_;
  PromiseLearner learner_;
  HeadKinds kinds_;
  KvDtype dtype_;
};

}  // namespace

PolicyInfo double_p_policy() {
  PolicyInfo info = describe<DoubleP>(
      "double_p", "refines clusters of mass p2 to tokens, estimates the rest of p1 by centroids",
      "Double-P, arXiv 2602.05191",
      join({{share("p1", 0.95, "estimated mass of the clusters that are kept"),
             share("p2", 0.70, "estimated mass of the clusters that are refined; at most p1"),
             choice("outside", "drop", {"drop", "estimate"},
                    "clusters outside p1 are dropped, or enter as terms too"),
             estimator_param(), value_side_param(), audit_param(),
             share("guarantee", 0,
                   "refine on while the audited covered mass may lie below this share; 0 = off",
                   true)},
            refinement_params(),
            promise_params(),
            head_kind_params(),
            nucleus_params(),
            clustered_cache_params()}),
      {.search = SearchKind::kClusters});
  info.variants = {{"paper", "as published, with a selection per query head", {}},
                   {"best",
                    "our best setting; how it was chosen: core/index/NOTES.md",
                    {{"metric", "auto"},
                     {"estimator", "pooled"},
                     {"value_side", "shifted"},
                     {"order", "error"},
                     {"stop", "share"},
                     {"outside", "estimate"},
                     {"gqa", "group_sum"},
                     {"kmeans_init", "random"},
                     {"head_kinds", "auto"}}}};
  info.check = [](const Parameters& p) {
    if (p.real("p2") > p.real("p1"))
      throw ParameterError(
          "p2", concat("policy double_p: p2 (", to_text(p.real("p2")), ") exceeds p1 (",
                       to_text(p.real("p1")), "); refined clusters are a part of the kept ones"));
    if (p.choice("objective") == "error" && p.choice("order") != "error")
      throw ParameterError(
          "objective",
          concat("policy double_p: objective: error weighs predicted errors, and order: ",
                 p.choice("order"), " knows none; set order to error, or leave objective out"));
    check_promise(p);
    if (p.real("guarantee") == 0) return;
    if (p.integer("audit") == 0)
      throw ParameterError("guarantee",
                           "policy double_p: a guarantee is held by its audit; set "
                           "audit as well, for instance to 64");
    if (p.choice("outside") == "estimate")
      throw ParameterError("guarantee",
                           "policy double_p: with outside: estimate every token is "
                           "covered; set outside to drop, or guarantee to 0");
  };
  return info;
}

}  // namespace doublep
