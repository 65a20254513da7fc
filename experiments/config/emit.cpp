#include "experiments/config/emit.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "core/base/text.h"

namespace doublep {
namespace {

// Words that some reader of YAML takes for a flag, for nothing, or for a merge.
bool is_reserved(std::string word) {
  for (char& c : word) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const char* other : {"true", "false", "yes", "no", "on", "off", "y", "n", "null"})
    if (word == other) return true;
  return false;
}

// A word that needs no quotes: begins with a letter, holds letters, digits, _ . - only.
bool is_plain(const std::string& text) {
  const auto letter = [](unsigned char c) { return std::isalpha(c) != 0 || c == '_'; };
  return !text.empty() && letter(static_cast<unsigned char>(text[0])) && !is_reserved(text) &&
         std::all_of(text.begin(), text.end(), [&](char c) {
           return letter(static_cast<unsigned char>(c)) || (c >= '0' && c <= '9') || c == '.' ||
                  c == '-';
         });
}

// Lines that come back as they are: a literal block has no escapes, and takes its indentation from
// its first line.
bool is_literal(const std::string& text) {
  if (text.size() < 2 || text[0] == ' ' || text[0] == '\n' || text.back() != '\n' ||
      text[text.size() - 2] == '\n')
    return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return c == '\n' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  });
}

}  // namespace

YamlWriter& YamlWriter::open(YAML::EMITTER_MANIP kind, Layout layout) {
  // Within flow everything is flow.
  const bool flow = layout == kFlow || open_.find_first_of("ML") != std::string::npos;
  if (flow) out_ << YAML::Flow;
  out_ << kind;
  open_ += kind == YAML::BeginMap ? (flow ? 'M' : 'm') : (flow ? 'L' : 'l');
  return *this;
}

YamlWriter& YamlWriter::map(Layout layout) { return open(YAML::BeginMap, layout); }
YamlWriter& YamlWriter::list(Layout layout) { return open(YAML::BeginSeq, layout); }

YamlWriter& YamlWriter::end() {
  DP_ASSERT(!open_.empty(), "a map or list to end");
  out_ << (std::tolower(open_.back()) == 'm' ? YAML::EndMap : YAML::EndSeq);
  open_.pop_back();
  return *this;
}

YamlWriter& YamlWriter::key(const std::string& name) {
  out_ << YAML::Key;
  if (!is_plain(name)) out_ << YAML::DoubleQuoted;
  out_ << name << YAML::Value;
  return *this;
}

YamlWriter& YamlWriter::key(std::int64_t name) {
  out_ << YAML::Key << std::to_string(name) << YAML::Value;
  return *this;
}

YamlWriter& YamlWriter::plain(const std::string& word) {
  out_ << word;
  return *this;
}

YamlWriter& YamlWriter::value(const std::string& text) {
  if (is_plain(text)) return plain(text);
  const bool literal = is_literal(text) && open_.find_first_of("ML") == std::string::npos;
  out_ << (literal ? YAML::Literal : YAML::DoubleQuoted);
  // The emitter ends the block's last line itself.
  out_ << (literal ? text.substr(0, text.size() - 1) : text);
  return *this;
}

YamlWriter& YamlWriter::value(bool flag) { return plain(flag ? "true" : "false"); }
YamlWriter& YamlWriter::value(std::int64_t whole) { return plain(std::to_string(whole)); }

YamlWriter& YamlWriter::value(double number) {
  if (std::isnan(number)) return plain(".nan");
  if (std::isinf(number)) return plain(number > 0 ? ".inf" : "-.inf");
  return plain(shortest_text(number));
}

YamlWriter& YamlWriter::value(const ParamValue& parameter) {
  if (const auto* text = std::get_if<std::string>(&parameter)) return value(*text);
  return plain(to_text(parameter));
}

YamlWriter& YamlWriter::value(const Parameters& parameters) {
  map(kFlow);
  for (const auto& [name, parameter] : parameters.values()) entry(name, parameter);
  return end();
}

YamlWriter& YamlWriter::comment(const std::string& line) {
  DP_ASSERT(out_.size() == 0, "comments stand before the root");
  comments_ += "# " + printable(line) + "\n";
  return *this;
}

std::string YamlWriter::text() const {
  DP_ASSERT(open_.empty() && out_.good(), "YAML that is whole: ", out_.GetLastError());
  return comments_ + out_.c_str() + "\n";
}

}  // namespace doublep
