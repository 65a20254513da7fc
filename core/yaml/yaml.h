// YAML with the errors that yaml-cpp lacks: every message starts with file:line:column (or with the
// --set that brought the value) and names the key; unknown and duplicate keys are refused, and so
// is what would be read otherwise than it looks: merge keys, a second document, an alias that
// contains itself or unfolds without end.
#pragma once

#include <yaml-cpp/yaml.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/parameters.h"

namespace doublep {

/// A node that knows its file and its path within it.
class Yaml {
 public:
  /// Parses a file, of 64 MiB at most. Throws InputError for a missing file, a syntax error or
  /// anything else that is refused above.
  /// The bytes of the file go to `bytes`, for who needs more of them than a second reading, of a
  /// file that may have changed, would give.
  static Yaml load(const std::string& path, std::string* bytes = nullptr);
  static Yaml parse(const std::string& text, const std::string& name);

  /// InputError "file:line:column: <key path>: <message>".
  [[noreturn]] void fail(const std::string& message) const;

  bool is_map() const { return node_.IsMap(); }
  bool is_list() const { return node_.IsSequence(); }
  bool is_scalar() const { return node_.IsScalar(); }

  /// Refuses keys that are not in the list, naming those that are.
  const Yaml& only(std::initializer_list<std::string_view> keys) const;
  bool has(std::string_view key) const;
  /// The value under a key of a map; fails where it is missing.
  Yaml at(std::string_view key) const;
  /// Elements of a list, which must not be empty.
  std::vector<Yaml> items() const;
  /// Keys of a map in the order of the file.
  std::vector<std::string> keys() const;
  /// Keys of a map with their values, in the order of the file.
  std::vector<std::pair<std::string, Yaml>> entries() const;

  std::string text() const;
  std::int64_t integer(double low = -kNoLimit, double high = kNoLimit) const;
  double real(double low = -kNoLimit, double high = kNoLimit) const;
  bool flag() const;
  /// A scalar as the type that it looks like: flag, integer, real or (quoted, or anything else)
  /// text.
  ParamValue value() const;

  /// The same with a fallback for a missing key.
  std::string text(std::string_view key, const std::string& fallback) const;
  std::int64_t integer(std::string_view key, std::int64_t fallback, double low = -kNoLimit,
                       double high = kNoLimit) const;
  double real(std::string_view key, double fallback, double low = -kNoLimit,
              double high = kNoLimit) const;
  bool flag(std::string_view key, bool fallback) const;

  /// Replaces what stands at a dotted path ("replay.max_steps"); parents must be maps or missing.
  /// `origin`, "--set replay.max_steps=4", is what errors about the value point at from then on.
  void assign(const std::string& dotted, const std::string& value, const std::string& origin);
  /// Makes of a bare value a map that holds it under this key.
  void wrap(const std::string& key);

  const std::string& file() const { return file_; }
  YAML::Node node() const { return node_; }

 private:
  struct Override {
    YAML::Node node;
    std::string origin;
  };
  Yaml(const YAML::Node& node, std::string file)
      : node_(node),
        file_(std::move(file)),
        overrides_(std::make_shared<std::vector<Override>>()) {}
  Yaml child(YAML::Node node, const std::string& path) const;
  [[noreturn]] void fail_at(const YAML::Mark& mark, const std::string& message) const;

  YAML::Node node_;
  std::string file_, path_, origin_;
  std::shared_ptr<std::vector<Override>> overrides_;  // of the whole file
};

/// Text to flag, integer, real (also as a percentage: 25% is 0.25), or itself.
ParamValue guess_value(const std::string& text);

}  // namespace doublep
