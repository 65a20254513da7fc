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

namespace {

// The key `variant` is no parameter: it becomes the values that it stands for.
Parameters with_variant(const PolicyInfo& policy, std::map<std::string, ParamValue> given) {
  const auto it = given.find("variant");
  if (it == given.end()) return {policy.name, policy.parameters, given};
  const std::string name = to_text(it->second);
  given.erase(it);
  std::string known;
  for (const PolicyVariant& variant : policy.variants) {
    if (variant.name == name) {
      given.insert(variant.values.begin(), variant.values.end());
      return {policy.name, policy.parameters, given, name};
    }
    known += (known.empty() ? "" : ", ") + variant.name;
  }
  throw ParameterError("variant",
                       concat("policy ", policy.name, ": no variant is called '", name,
                              known.empty() ? "'; it has none" : "'; there are ", known));
}

}  // namespace

Parameters resolve(const PolicyInfo& policy, const std::map<std::string, ParamValue>& given) {
  Parameters parameters = with_variant(policy, given);
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
