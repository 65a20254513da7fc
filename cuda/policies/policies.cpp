#include "cuda/policies/policies.h"

#include <algorithm>
#include <array>

#include "core/base/error.h"

namespace doublep::cuda {

#define DOUBLEP_CUDA_POLICY(name) DevicePolicy name##_on_device();
#include "cuda/policies/builtin.def"
#undef DOUBLEP_CUDA_POLICY

const std::vector<DevicePolicy>& device_policies() {
  static const std::vector<DevicePolicy> all = {
#define DOUBLEP_CUDA_POLICY(name) name##_on_device(),
#include "cuda/policies/builtin.def"
#undef DOUBLEP_CUDA_POLICY
  };
  return all;
}

namespace {

constexpr std::array kHeadDims = {64, 80, 128, 256};

const DevicePolicy* find(const std::string& name) {
  for (const DevicePolicy& policy : device_policies())
    if (policy.name == name) return &policy;
  return nullptr;
}

template <class List, class Text>
std::string joined(const List& list, const char* between, const Text& text) {
  std::string all;
  for (const auto& item : list) all += concat(all.empty() ? "" : between, text(item));
  return all;
}
std::string text_of(const Supported& s) {
  const auto same = [](const std::string& value) { return value; };
  return s.parameter + (s.values.empty() ? "" : " " + joined(s.values, "|", same));
}

// "" where the value is served, else what is missing.
std::string lacks(const DevicePolicy& policy, const std::string& name, const std::string& value) {
  for (const Supported& s : policy.parameters)
    if (s.parameter == name)
      return s.values.empty() || std::count(s.values.begin(), s.values.end(), value) > 0
                 ? ""
                 : name + " " + value;
  return "parameter " + name;
}

}  // namespace

std::string refusal(const std::string& name, const Parameters& parameters, const Request& request) {
  const DevicePolicy* policy = find(name);
  const int group = request.num_kv_heads > 0 ? request.num_query_heads / request.num_kv_heads : 0;
  std::string missing;
  const auto require = [&](bool met, const std::string& what) {
    if (!met) missing += (missing.empty() ? "" : ", ") + what;
  };
  require(policy, "policy " + name);
  require(std::find(kHeadDims.begin(), kHeadDims.end(), request.head_dim) != kHeadDims.end(),
          concat("head_dim ", request.head_dim));
  require(request.value_dim == 0 || request.value_dim == request.head_dim,
          concat("value_dim ", request.value_dim, " other than head_dim"));
  require(group >= 1 && group <= kMaxGroup, concat("group size ", group));
  const bool packs = policy && policy->fp8;
  require(request.dtype != KvDtype::kFp8 || packs, "kv_dtype fp8");
  if (policy)
    for (const auto& [parameter, value] : parameters.values()) {
      const std::string what = lacks(*policy, parameter, to_text(value));
      require(what.empty(), what);
    }
  if (policy && missing.empty() && policy->together)
    if (const std::string what = policy->together(parameters); !what.empty()) require(false, what);
  if (missing.empty()) return "";
  const std::string all =
      joined(device_policies(), "|", [](const DevicePolicy& p) { return p.name; });
  return concat("backend cuda cannot serve this: required policy ", name, " ", parameters.to_json(),
                ", head_dim ", request.head_dim, ", group size ", group, ", kv_dtype ",
                name_of(request.dtype), "; supported policy ", all, ", head_dim ",
                joined(kHeadDims, "|", [](int d) { return d; }), ", group size 1 to ", kMaxGroup,
                ", kv_dtype fp32|fp16|bf16", packs ? "|fp8" : "",
                policy && !policy->parameters.empty()
                    ? ", and of " + name + " " + joined(policy->parameters, ", ", text_of)
                    : "",
                "; missing ", missing, ". Use backend: cpu");
}

Plan plan_for(const std::string& name, const Parameters& parameters, const Request& request) {
  if (const std::string line = refusal(name, parameters, request); !line.empty())
    throw InputError(line);
  Plan plan = find(name)->plan(parameters);
  plan.fp8 = request.dtype == KvDtype::kFp8;
  plan.index.grows = PolicyRegistry::instance().find(name).traits.grows;
  return plan;
}

}  // namespace doublep::cuda
