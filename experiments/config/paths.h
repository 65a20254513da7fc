// Paths in a configuration.
#pragma once

#include <string>
#include <vector>

#include "core/yaml/yaml.h"

namespace doublep {

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
