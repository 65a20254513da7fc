#include "experiments/config/paths.h"

#include <algorithm>
#include <filesystem>

#include "core/base/error.h"

namespace doublep {

std::string input_path(const Yaml& node, const std::string& kind) {
  const std::filesystem::path given(node.text());
  // An absolute path replaces the folder. No lexically_normal(): it would make of
  // configs/../data/t.h5, where configs is a symlink, another file.
  std::string path = (std::filesystem::path(node.file()).parent_path() / given).string();
  std::error_code error;
  if (given.empty() || !std::filesystem::exists(path, error))
    node.fail("no such " + kind + ": " + path + (error ? " (" + error.message() + ")" : "") +
              "; paths are relative to the configuration's folder");
  return path;
}

std::vector<std::string> input_paths(const Yaml& list, const std::string& kind) {
  std::vector<std::string> paths;
  for (const Yaml& item : list.items()) paths.push_back(input_path(item, kind));
  return paths;
}

std::string file_name_part(const Yaml& node) {
  constexpr std::size_t kLongest = 200;  // bytes: a suffix still fits into a file name
  std::string name = node.text();
  const bool plain = std::none_of(name.begin(), name.end(), [](char c) {
    return c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
  if (name.empty() || name == "." || name == ".." || name.size() > kLongest || !plain)
    node.fail(concat("names files: expected 1 to ", kLongest,
                     " characters without slashes and control characters"));
  return name;
}

std::string config_name(const Yaml& root) {
  return root.has("name") ? file_name_part(root.at("name"))
                          : std::filesystem::path(root.file()).stem().string();
}

}  // namespace doublep
