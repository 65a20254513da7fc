// Which policies there are. An explicit list (builtin.def): a static library would drop
// self-registering objects silently.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/base/parameters.h"
#include "core/policy/policy.h"

namespace doublep {

struct PolicyInfo {
  std::string name;
  std::string meaning;  ///< one line, for people
  std::string source;   ///< the paper whose rule it is
  ParamSpecs parameters;
  /// Conditions that tie parameters to each other; throws ParameterError.
  std::function<void(const Parameters&)> check = [](const Parameters&) {};
  std::function<std::unique_ptr<Policy>(const Parameters&, const PolicyContext&)> create = {};
};

class PolicyRegistry {
 public:
  /// All built-in policies, in the order of builtin.def.
  static PolicyRegistry& instance();
  /// Also for policies of a program of your own. A name that is taken throws InputError.
  void add(PolicyInfo info);
  /// Throws InputError that lists what there is.
  const PolicyInfo& find(const std::string& name) const;
  const std::vector<PolicyInfo>& all() const { return policies_; }

 private:
  std::vector<PolicyInfo> policies_;
};

/// Parameters of `policy` with defaults filled in and every check passed.
Parameters resolve(const PolicyInfo& policy, const std::map<std::string, ParamValue>& given);

/// A PolicyInfo for a class with a constructor (const Parameters&, const PolicyContext&).
template <class T>
PolicyInfo describe(std::string name, std::string meaning, std::string source,
                    ParamSpecs parameters) {
  PolicyInfo info{std::move(name), std::move(meaning), std::move(source), std::move(parameters)};
  info.create = [](const Parameters& p, const PolicyContext& c) -> std::unique_ptr<Policy> {
    return std::make_unique<T>(p, c);
  };
  return info;
}

}  // namespace doublep
