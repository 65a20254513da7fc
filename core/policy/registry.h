// Which policies there are. An explicit list (builtin.def): a static library would drop
// self-registering objects silently.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/parameters.h"
#include "core/policy/policy.h"

namespace doublep {

/// What a policy's search ranks before anything is attended.
enum class SearchKind {
  kNone,      ///< nothing: what is attended follows from positions
  kPages,     ///< runs of consecutive tokens, by a bound on their keys
  kClusters,  ///< clusters, by their centroids
  kTokens,    ///< single tokens, by a score of each one's key, whole or abridged
  kCodes      ///< single tokens, by look-ups of each one's code
};
inline constexpr SearchKind kSearchKinds[] = {SearchKind::kNone, SearchKind::kPages,
                                              SearchKind::kClusters, SearchKind::kTokens,
                                              SearchKind::kCodes};
std::string_view name_of(SearchKind kind);  ///< "none", "pages", ...

/// What others ask of a policy, so that nobody asks its name.
struct PolicyTraits {
  SearchKind search = SearchKind::kNone;
  bool grows = false;      ///< new tokens join the index; else it stays, or is built anew
  bool per_group = false;  ///< one ranking for a group's heads whatever the parameters say
  bool dense = false;      ///< attends every visible token: what the others are held against
};

/// A set of parameters with a name: what `variant: NAME` in a sweep stands for. What is given
/// beside it goes first.
struct PolicyVariant {
  std::string name;
  std::string meaning;  ///< one line, for people
  std::map<std::string, ParamValue> values;
};

struct PolicyInfo {
  std::string name;
  std::string meaning;  ///< one line, for people
  std::string source;   ///< the paper whose rule it is
  ParamSpecs parameters;
  /// Conditions that tie parameters to each other; throws ParameterError.
  std::function<void(const Parameters&)> check = [](const Parameters&) {};
  std::function<std::unique_ptr<Policy>(const Parameters&, const PolicyContext&)> create = {};
  PolicyTraits traits = {};
  std::vector<PolicyVariant> variants = {};
  /// Does it read every key to choose, as no policy that saves bytes can? Tables say so beside it.
  std::function<bool(const Parameters&)> oracle_priced = [](const Parameters&) { return false; };

  /// One ranking for all heads of a group: by its rule, or by `gqa: group_sum`.
  bool ranks_groups(const Parameters& parameters) const;
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

/// What only a trace tells: a parameter that head_dim bounds (ParamSpec::within_head_dim) and lies
/// above it throws ParameterError.
void check_fits(const PolicyInfo& policy, const Parameters& parameters, int head_dim);

/// A PolicyInfo for a class with a constructor (const Parameters&, const PolicyContext&).
template <class T>
PolicyInfo describe(std::string name, std::string meaning, std::string source,
                    ParamSpecs parameters, const PolicyTraits& traits = {}) {
  PolicyInfo info{std::move(name), std::move(meaning), std::move(source), std::move(parameters)};
  info.traits = traits;
  info.create = [](const Parameters& p, const PolicyContext& c) -> std::unique_ptr<Policy> {
    return std::make_unique<T>(p, c);
  };
  return info;
}

}  // namespace doublep
