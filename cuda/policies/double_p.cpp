// Double-P: clusters of mass p2 token by token, those of p1 (or all others) as one term each; or
// the clusters whose tokens remove most error, up to a number of tokens or until what remains errs
// by little enough, all others as terms.
#include "cuda/policies/policies.h"

namespace doublep::cuda {
namespace {

// A ranking by anything but mass ends at a number of tokens or at an error, is one for the group,
// and leaves everything else as terms: what select_ranked() does.
std::string together(const Parameters& p) {
  const std::string &order = p.choice("order"), &stop = p.choice("stop");
  if (stop == "mass") return order == "mass" ? "" : "order " + order + " with stop mass";
  if (p.choice("gqa") != "group_sum") return "gqa " + p.choice("gqa") + " with stop " + stop;
  if (p.choice("outside") != "estimate")
    return "outside " + p.choice("outside") + " with stop " + stop;
  // Variances are those of the estimate: of the isotropic ones nothing is made ready.
  if (p.choice("estimator") != "pooled" && (order == "error" || stop == "error"))
    return "estimator " + p.choice("estimator") + " with " +
           (order == "error" ? "order " : "stop ") + "error";
  // Values are not read: factors that were learnt know how far they lie from the output.
  if (stop == "error" && p.choice("calibration") == "none")
    return "calibration none with stop error";
  return "";
}

Plan plan(const Parameters& p) {
  Plan plan = nucleus_plan(p, p.real("p1"), p.real("p2"));
  plan.step.terms = true, plan.step.outside_terms = p.choice("outside") == "estimate";
  plan.step.value_shift = plan.index.clustering.value_map = p.choice("value_side") == "shifted";
  const std::string &order = p.choice("order"), &stop = p.choice("stop");
  plan.step.rank = order == "error" ? RankBy::kError : order == "p2" ? RankBy::kP2 : RankBy::kMass;
  plan.step.votes = p.choice("objective") == "error";  // core takes it with order: error alone
  if (stop == "mass") return plan;
  plan.stop.rule = stop == "error" ? StopPlan::Rule::kError : StopPlan::Rule::kVisible;
  plan.mass_with_zone = false;  // no share of a mass decides
  if (stop == "error")
    plan.stop.error = p.real("error"), plan.stop.tail = p.real("tail");
  else if (stop == "share")
    plan.stop.share = p.real("share");
  else
    plan.stop.tokens = p.integer("tokens");
  return plan;
}

}  // namespace

DevicePolicy double_p_on_device() {
  return {"double_p",
          both(supported_nucleus(), {{"p1"},
                                     {"p2"},
                                     {"outside"},
                                     {"value_side"},
                                     {"guarantee", {"0.0"}},
                                     {"order", {"mass", "error", "p2"}},
                                     {"objective", {"squared_error", "error"}},
                                     {"stop", {"mass", "share", "tokens", "error"}},
                                     {"share"},
                                     {"tokens"},
                                     {"error"},
                                     {"price"},
                                     {"tail"},
                                     {"calibration", {"none", "prompt"}},
                                     {"calibration_queries"},
                                     {"alpha"},
                                     {"promise_to"},
                                     {"head_kinds", {"one"}},
                                     {"head_error"}}),
          plan, together, true};
}

}  // namespace doublep::cuda
