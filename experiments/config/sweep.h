// A sweep: traces x seeds x policies x parameter lists, read from YAML and expanded to runs.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/cost/stages.h"
#include "core/policy/registry.h"
#include "experiments/replay/replay.h"

namespace doublep {

class Yaml;

/// One policy with its parameters and a seed; a sweep runs it on each of its traces.
struct RunSpec {
  std::string policy;
  std::string backend;  ///< "cpu", "cuda" or "auto"
  Parameters parameters;
  std::string label;  ///< policy and the parameters that vary in this sweep
  /// As `doublep tune` found them: parameters of each layer. Empty: `parameters` in every layer.
  std::map<int, Parameters> by_layer = {};
  std::string tuned_on = {};  ///< name of the trace that by_layer was found on
  std::uint64_t seed = 0;     ///< of whatever the policy draws
  /// What the entry's runs are called together (`title:`) in tables and pictures; "": by policy.
  std::string title = {};

  const Parameters& of_layer(int layer) const;  ///< by_layer, where there is any, has it
  /// JSON object, canonical. A parameter that differs between layers is an object of its own:
  /// {"p1": 0.9, "p2": {"0": 0.5, "1": 0.7}}.
  std::string parameters_json() const;
};

struct Sweep {
  std::string path;  ///< of the configuration
  std::string name;
  std::string output;
  std::vector<std::uint64_t> seeds = {0};
  KvDtype kv_dtype = KvDtype::kBf16;
  ReplayOptions replay;
  std::vector<std::string> traces;  ///< paths, relative ones resolved against the configuration
  std::vector<std::string> inputs;  ///< every file that was or will be read
  std::vector<RunSpec> runs;        ///< expanded, duplicates removed, in the order of the file
  std::size_t duplicates = 0;       ///< how many were removed
  std::size_t skipped = 0;          ///< impossible combinations, under `skip_invalid: true`
};

/// More runs than this are done only where the user has said so (`--yes`): a sweep that is counted
/// in days is most often a slip in a range.
inline constexpr double kMostRuns = 100000;

/// What a `policies` list comes to.
struct Expansion {
  std::vector<RunSpec> runs;
  std::vector<std::string> inputs;  ///< files of `tuned` entries
  std::size_t duplicates = 0, skipped = 0;
};

/// The `policies` list of a configuration with its `defaults`, multiplied out, duplicates removed
/// and labelled. Counted before it is expanded: `times` (traces and seeds) as many runs must not
/// exceed kMostRuns, unless `any_number`. Throws InputError.
Expansion expand_policies(const Yaml& root, double times, bool any_number);
/// One "key=value" of --set, put into the configuration.
void apply_override(Yaml& root, const std::string& text);

/// A configuration with its overrides, a map; nothing else is checked yet.
Yaml load_config(const std::string& path, const std::vector<std::string>& overrides);
/// The sweep in a configuration that may hold keys of its own beside it.
Sweep read_sweep(const Yaml& root, bool any_number);
/// Reads and expands. `overrides`: "key=value" from --set; the key is a dotted path from the root,
/// or `<policy>.<parameter>` for every entry of that policy. Throws InputError.
Sweep load_sweep(const std::string& path, const std::vector<std::string>& overrides = {},
                 bool any_number = false);

}  // namespace doublep
