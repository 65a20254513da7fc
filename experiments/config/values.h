// What may stand in a configuration: for a parameter one value, a list, or a range; paths; names.
#pragma once

#include <string>
#include <vector>

#include "core/yaml/yaml.h"

namespace doublep {

/// 0.9 -> {0.9}; [0.8, 0.9] -> both; {from: 0.1, to: 0.5, step: 0.1} or {from: 16, to: 1024,
/// count: 4, scale: log} -> the range, both ends included. Integers where from, to and step are
/// written as such and all values are whole; else reals.
std::vector<ParamValue> expand_values(const Yaml& node);

/// The file that a node names, relative to the folder of its configuration, as it will be opened:
/// no part of it is folded away, so that `..` behind a symlinked folder means what the system takes
/// it for. Fails, at the node, where there is no such file; `kind` is the word for it, "trace".
std::string input_path(const Yaml& node, const std::string& kind = "file");
/// The same of every item of a list.
std::vector<std::string> input_paths(const Yaml& list, const std::string& kind = "file");

/// A name that becomes part of a file's: without slashes and control characters, and not empty.
/// Fails, at the node, where it is none.
std::string file_name_part(const Yaml& node);
/// `name` of a configuration, such a one, or the stem of its file name.
std::string config_name(const Yaml& root);

}  // namespace doublep
