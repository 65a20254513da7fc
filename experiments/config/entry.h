// One entry of a `policies` list: a bare name, a policy with parameters that are values, lists or
// ranges, or the file of `doublep tune`.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/yaml/yaml.h"
#include "experiments/config/sweep.h"

namespace doublep {

/// A policy's entry before it is multiplied out.
class PolicyEntry {
 public:
  /// `root`: of the configuration, for `backend`, `defaults` and `skip_invalid`. The names of the
  /// defaults that apply are added to `used_defaults`. Throws InputError.
  PolicyEntry(const Yaml& entry, const Yaml& root, std::set<std::string>& used_defaults);
  /// How many runs it comes to, without making them.
  double count() const;
  /// Adds them. Throws InputError at the parameter that is wrong.
  void expand(Expansion& into) const;

 private:
  using Values = std::map<std::string, ParamValue>;
  [[noreturn]] void fail(const ParameterError& error) const;

  Yaml entry_, root_;
  const PolicyInfo* policy_;
  std::string backend_, title_;
  std::vector<std::pair<std::string, std::vector<ParamValue>>> axes_;
};

/// "cpu", "cuda" or "auto": the entry's own, or the root's.
std::string read_backend(const Yaml& entry, const Yaml& root);

/// What `doublep tune` chose for a policy on a trace.
struct TunedChoice {
  std::string policy, backend, trace;
  std::map<int, Parameters> layers;  ///< by the layer's number in the model
};
/// All that a file of `doublep tune -o` holds. Throws InputError.
std::vector<TunedChoice> read_choices(const Yaml& file);

/// Where an entry {tuned: FILE} stands for what `doublep tune -o FILE` wrote, its runs; `policy:`
/// and `trace:` in the entry take only those of that name. Parameters that are the same in every
/// layer make a run like any other. Throws InputError.
std::vector<RunSpec> read_tuned_entry(const Yaml& entry, const Yaml& root);

}  // namespace doublep
