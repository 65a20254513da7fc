#include "core/policy/registry.h"

namespace doublep {

#define DOUBLEP_POLICY(name) PolicyInfo name##_policy();
#include "core/policy/builtin.def"
#undef DOUBLEP_POLICY

std::string_view name_of(SearchKind kind) {
  constexpr std::string_view kNames[] = {"none", "pages", "clusters", "tokens", "codes"};
  return kNames[static_cast<int>(kind)];
}

bool PolicyInfo::ranks_groups(const Parameters& p) const {
  return traits.per_group || (p.has("gqa") && p.choice("gqa") == "group_sum");
}

PolicyRegistry& PolicyRegistry::instance() {
  static PolicyRegistry registry = [] {
    PolicyRegistry r;
#define DOUBLEP_POLICY(name) r.add(name##_policy());
#include "core/policy/builtin.def"
#undef DOUBLEP_POLICY
    return r;
  }();
  return registry;
}

void PolicyRegistry::add(PolicyInfo info) {
  for (const auto& policy : policies_)
    if (policy.name == info.name)
      fail_input("policy ", info.name, " is registered already; choose another name");
  policies_.push_back(std::move(info));
}

const PolicyInfo& PolicyRegistry::find(const std::string& name) const {
  std::string known;
  for (const auto& policy : policies_) {
    if (policy.name == name) return policy;
    known += (known.empty() ? "" : ", ") + policy.name;
  }
  fail_input("no policy is called '", name, "'; there are ", known);
}

Parameters resolve(const PolicyInfo& policy, const std::map<std::string, ParamValue>& given) {
  Parameters parameters(policy.name, policy.parameters, given);
  policy.check(parameters);
  return parameters;
}

void check_fits(const PolicyInfo& policy, const Parameters& parameters, int head_dim) {
  for (const ParamSpec& spec : policy.parameters)
    if (spec.within_head_dim && parameters.integer(spec.name) > head_dim)
      throw ParameterError(
          spec.name,
          concat("policy ", policy.name, ": ", spec.name, " is ", parameters.integer(spec.name),
                 ", but the keys have head_dim ", head_dim, "; at most that"));
}

}  // namespace doublep
