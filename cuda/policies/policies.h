// The policies that run on the device, each in a file beside this one: what of its parameters is
// supported, and the plan of stages that they make.
#pragma once

#include <string>
#include <vector>

#include "core/policy/registry.h"
#include "cuda/policies/plan.h"

namespace doublep::cuda {

/// A parameter that the device serves, with the values that it serves of it, as text; none listed:
/// every value. What is not listed is refused, also parameters that the policy gains later.
struct Supported {
  std::string parameter;
  std::vector<std::string> values = {};
};

struct DevicePolicy {
  std::string name;  ///< of the policy in core's registry
  std::vector<Supported> parameters;
  Plan (*plan)(const Parameters&);
  /// Values that are each served, but not together: what is missing, or empty. Null: all go.
  std::string (*together)(const Parameters&) = nullptr;
  bool fp8 = false;  ///< whole clusters or blocks are attended, so that the cache may be packed
};

/// In the order of builtin.def.
const std::vector<DevicePolicy>& device_policies();

/// What a decode asks of the backend, beside its policy.
struct Request {
  int num_query_heads = 0, num_kv_heads = 0, head_dim = 0;
  KvDtype dtype = KvDtype::kBf16;
  int value_dim = 0;  ///< 0: head_dim
};
/// Empty where the policy can run for this request; else one line that lists what was required,
/// what is supported and what is missing.
std::string refusal(const std::string& policy, const Parameters& parameters,
                    const Request& request);
/// Throws InputError with the refusal. What does not depend on the request's shape may be asked
/// before there is one: {1, 1, 128, dtype}.
Plan plan_for(const std::string& policy, const Parameters& parameters, const Request& request);

/// What several of them list.
std::vector<Supported> both(std::vector<Supported> one, const std::vector<Supported>& other);
std::vector<Supported> supported_zone();      ///< sink, window
std::vector<Supported> supported_clusters();  ///< and the index's, without what follows, no audit
std::vector<Supported> supported_growing_clusters();  ///< and the estimators, one start and metric
std::vector<Supported> supported_whole_clusters();    ///< and every estimator, start and metric
std::vector<Supported> supported_nucleus();           ///< and what shares of mass refer to
/// What several of them plan: zones alone; pages to a budget of tokens; clusters, ranked by mass;
/// these to shares of the mass. Terms are off.
Plan zone_plan(const Parameters& parameters);
Plan page_plan(const Parameters& parameters, const Budget& budget);
Plan cluster_plan(const Parameters& parameters);
Plan nucleus_plan(const Parameters& parameters, double kept, double refined);

}  // namespace doublep::cuda
