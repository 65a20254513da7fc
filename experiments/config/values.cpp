#include "experiments/config/values.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>

#include "core/base/error.h"
#include "core/base/text.h"

namespace doublep {
namespace {

// 12 significant digits: 0.1 + 0.2 is to be 0.3 in labels, keys and results.
double tidy(double x) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, x, std::chars_format::general, 12).ptr;
  return parse_real({text, end}).value_or(x);
}

std::vector<ParamValue> expand_range(const Yaml& node) {
  node.only({"from", "to", "step", "count", "scale"});
  const double from = node.at("from").real(), to = node.at("to").real();
  const std::string scale = node.text("scale", "linear");
  if (to < from) node.fail("'to' lies below 'from'; a range ascends");
  if (node.has("step") == node.has("count")) node.fail("a range has either 'step' or 'count'");
  if (scale != "linear" && scale != "log") node.fail("scale: expected linear or log");
  std::int64_t count;
  if (node.has("step")) {
    const double step = node.at("step").real();
    if (!(step > 0)) node.at("step").fail("expected a positive step");
    if (scale == "log") node.fail("scale: log goes with 'count'");
    const double steps = std::floor((to - from) / step * (1 + 1e-12));
    if (!(steps < 10000)) node.fail("the range has more than 10000 values; take a larger step");
    count = static_cast<std::int64_t>(steps) + 1;
  } else {
    count = node.at("count").integer(2, 10000);
    if (scale == "log" && !(from > 0)) node.at("from").fail("scale: log needs a positive start");
  }
  constexpr double kExact = 9007199254740992;  // beyond it a double is no exact integer
  // 0.25 to 1.0 ends at a share of all, not at one: only what is written whole stays so.
  const auto is_whole = [&](const char* key) {
    return !node.has(key) || std::holds_alternative<std::int64_t>(node.at(key).value());
  };
  bool whole = is_whole("from") && is_whole("to") && is_whole("step");
  std::vector<double> numbers;
  for (std::int64_t i = 0; i < count; ++i) {
    const double share = node.has("step") || count == 1 ? 0 : static_cast<double>(i) / (count - 1);
    const double x = node.has("step") ? from + i * node.at("step").real()
                     : scale == "log" ? from * std::pow(to / from, share)
                                      : from + share * (to - from);
    numbers.push_back(tidy(x));
    whole =
        whole && numbers.back() == std::floor(numbers.back()) && std::abs(numbers.back()) <= kExact;
  }
  std::vector<ParamValue> values;
  for (double x : numbers)
    whole ? values.emplace_back(static_cast<std::int64_t>(x)) : values.emplace_back(x);
  return values;
}

}  // namespace

std::vector<ParamValue> expand_values(const Yaml& node) {
  if (node.is_map()) return expand_range(node);
  if (!node.is_list()) return {node.value()};
  std::vector<ParamValue> values;
  for (const Yaml& item : node.items()) values.push_back(item.value());
  return values;
}

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
