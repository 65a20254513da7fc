#include "core/trace/description.h"

#include <algorithm>
#include <filesystem>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/trace/trace_info.h"
#include "core/yaml/yaml.h"

namespace doublep {
namespace {

constexpr const char* kLayer = "{layer}";
constexpr const char* kTensor = "{tensor}";
constexpr int kLargestLayer = 1 << 20;

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

bool has_once(const std::string& text, const std::string& word) {
  const std::size_t at = text.find(word);
  return at != std::string::npos && text.find(word, at + 1) == std::string::npos;
}

// Of a key that is a path of the folder's own files only.
bool stays_inside(const std::string& pattern) {
  const std::filesystem::path path(pattern);
  return !path.is_absolute() && std::find(path.begin(), path.end(), "..") == path.end();
}

std::map<std::string, std::string> read_names(const Yaml& root) {
  std::map<std::string, std::string> names;
  for (const LayerTensor& tensor : layer_tensors({})) names[tensor.name] = tensor.name;
  if (!root.has("names")) return names;
  const Yaml given =
      root.at("names").only({"keys", "values", "queries", "outputs", "prefill_queries"});
  for (const auto& [tensor, name] : given.entries()) names[tensor] = name.text();
  for (const auto& [tensor, name] : names)
    for (const auto& [other, same] : names)
      if (tensor < other && name == same)
        given.fail("'" + name + "' would be both " + tensor + " and " + other);
  return names;
}

PerLayer read_per_layer(const Yaml& root, const char* key) {
  PerLayer out;
  if (!root.has(key)) return out;
  const Yaml node = root.at(key);
  if (!node.is_map()) {
    out.all = node.real(0);
    return out;
  }
  for (const auto& [layer, value] : node.entries()) {
    const auto index = parse_integer(layer);
    if (!index || *index < 0 || *index > kLargestLayer)
      value.fail("expected layers, or one number for all of them");
    out.some[static_cast<int>(*index)] = value.real(0);
  }
  return out;
}

}  // namespace

NamePattern::NamePattern(const std::string& pattern,
                         const std::map<std::string, std::string>& names, const std::string& place)
    : text_(pattern), of_files_(ends_with(pattern, ".npy")) {
  if (!has_once(pattern, kLayer) || !has_once(pattern, kTensor))
    fail_input(place,
               "expected a name with one {layer} and one {tensor}, such as "
               "layer{layer}.{tensor}.npy (files) or layers.{layer}.{tensor} (in .safetensors "
               "files), not '",
               pattern, "'");
  if (of_files_ && !stays_inside(pattern))
    fail_input(place, "'", pattern,
               "' leaves the folder; a trace is one folder, with all its files");
  for (const auto& [tensor, name] : names) {
    std::string text = pattern;
    text.replace(text.find(kTensor), std::string(kTensor).size(), name);
    const std::size_t at = text.find(kLayer);
    frames_.push_back({text.substr(0, at), text.substr(at + std::string(kLayer).size()), tensor});
  }
}

std::pair<int, std::string> NamePattern::match(const std::string& name) const {
  for (const Frame& frame : frames_) {
    const std::size_t around = frame.before.size() + frame.after.size();
    if (name.size() <= around || name.compare(0, frame.before.size(), frame.before) != 0 ||
        !ends_with(name, frame.after))
      continue;
    const std::string digits = name.substr(frame.before.size(), name.size() - around);
    if (digits.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto layer = parse_integer(digits);
    if (layer && *layer <= kLargestLayer) return {static_cast<int>(*layer), frame.tensor};
  }
  return {-1, ""};
}

FolderDescription read_description(const std::string& folder) {
  const std::string path = (std::filesystem::path(folder) / kDescriptionName).string();
  std::error_code error;
  if (!std::filesystem::exists(path, error))
    fail_input(folder, ": is a folder without ", kDescriptionName,
               ", which describes the tensors of a trace; name a file in it, or write one "
               "(data/TRACE_FORMAT.md)");
  std::string text;
  const Yaml root = Yaml::load(path, &text);
  root.only({"version", "model", "task", "seed", "softmax_scale", "rope_applied", "tensors",
             "names", "layers", "positions", "logit_softcap", "sliding_window"});
  if (const std::int64_t version = root.integer("version", 1); version != 1)
    root.at("version").fail(
        concat("version ", version, " is not known; this program reads version 1"));
  check_rope(root.flag("rope_applied", true), path + ": rope_applied");
  const std::string pattern = root.at("tensors").text();
  FolderDescription out{path,
                        text,
                        root.text("model", ""),
                        root.text("task", ""),
                        root.integer("seed", 0),
                        root.at("softmax_scale").real(),
                        {pattern, read_names(root), path + ": tensors: "}};
  check_scale(out.softmax_scale, path + ": softmax_scale");
  if (root.has("layers")) {
    for (const Yaml& layer : root.at("layers").items())
      out.layers.push_back(static_cast<int>(layer.integer(0, kLargestLayer)));
    std::sort(out.layers.begin(), out.layers.end());
    if (std::adjacent_find(out.layers.begin(), out.layers.end()) != out.layers.end())
      root.at("layers").fail("a layer is named twice");
  }
  if (root.has("positions"))
    for (const Yaml& position : root.at("positions").items())
      out.positions.push_back(position.integer());
  out.logit_softcap = read_per_layer(root, "logit_softcap");
  out.sliding_window = read_per_layer(root, "sliding_window");
  return out;
}

}  // namespace doublep
