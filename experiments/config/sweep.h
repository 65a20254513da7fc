// A sweep: traces x policies x parameter lists, read from YAML and expanded to runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/cost/cost.h"
#include "core/policy/registry.h"
#include "experiments/replay/replay.h"

namespace doublep {

class Yaml;

/// One policy with one set of parameters; a sweep runs it on each of its traces.
struct RunSpec {
  std::string policy;
  std::string backend;  ///< "cpu", "cuda" or "auto"
  Parameters parameters;
  std::string label;  ///< policy and the parameters that vary in this sweep
};

struct Sweep {
  std::string path;  ///< of the configuration
  std::string name;
  std::string output;
  std::uint64_t seed = 0;
  KvDtype kv_dtype = KvDtype::kBf16;
  ReplayOptions replay;
  std::vector<std::string> traces;  ///< paths, relative ones resolved against the configuration
  std::vector<std::string> inputs;  ///< every file that was or will be read
  std::vector<RunSpec> runs;        ///< expanded, duplicates removed, in the order of the file
  std::size_t duplicates = 0;       ///< how many were removed
};

/// The `policies` list of a configuration with its `defaults`, multiplied out, duplicates removed
/// (their number is added to `duplicates`) and labelled. Throws InputError.
std::vector<RunSpec> expand_policies(const Yaml& root, std::size_t& duplicates);
/// One "key=value" of --set, put into the configuration.
void apply_override(Yaml& root, const std::string& text);

/// A configuration with its overrides, a map; nothing else is checked yet.
Yaml load_config(const std::string& path, const std::vector<std::string>& overrides);
/// The sweep in a configuration that may hold keys of its own beside it.
Sweep read_sweep(const Yaml& root);
/// Reads and expands. `overrides`: "key=value" from --set; the key is a dotted path from the root,
/// or
/// `<policy>.<parameter>` for every entry of that policy. Throws InputError.
Sweep load_sweep(const std::string& path, const std::vector<std::string>& overrides = {});

}  // namespace doublep
