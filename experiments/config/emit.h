// Writes YAML through yaml-cpp's emitter: any text, quoted where a reader would take it for
// something else, and numbers with the shortest text that reads back as the same number.
#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <string>

#include "core/base/parameters.h"

namespace doublep {

/// Example: YamlWriter().map().entry("name", "it's").key("p").list(kFlow).value(0.1).end().end()
class YamlWriter {
 public:
  enum Layout { kBlock, kFlow };  ///< a line an item, or {all: in, one: line}

  YamlWriter& map(Layout layout = kBlock);
  YamlWriter& list(Layout layout = kBlock);
  YamlWriter& end();  ///< of the innermost map or list

  YamlWriter& key(const std::string& name);
  YamlWriter& key(std::int64_t name);
  /// Text of several lines that ends in a line break becomes a literal block.
  YamlWriter& value(const std::string& text);
  YamlWriter& value(const char* text) { return value(std::string(text)); }
  YamlWriter& value(bool flag);
  YamlWriter& value(int whole) { return value(static_cast<std::int64_t>(whole)); }
  YamlWriter& value(std::int64_t whole);
  YamlWriter& value(std::size_t whole) { return value(static_cast<std::int64_t>(whole)); }
  YamlWriter& value(double number);  ///< also .nan, .inf and -.inf, as YAML spells them
  /// Keeps the type: a real of 2 is written 2.0.
  YamlWriter& value(const ParamValue& parameter);
  /// {name: value, ...} in one line.
  YamlWriter& value(const Parameters& parameters);
  template <class Value>
  YamlWriter& entry(const std::string& name, const Value& v) {
    return key(name).value(v);
  }
  /// A "# ..." line of its own; before the root only.
  YamlWriter& comment(const std::string& line);

  /// What was written, ending in a line break. Every map and list has been ended.
  std::string text() const;

 private:
  YamlWriter& open(YAML::EMITTER_MANIP kind, Layout layout);
  YamlWriter& plain(const std::string& word);

  std::string comments_;
  std::string open_;  // one letter a level: m or l
  YAML::Emitter out_;
};

}  // namespace doublep
