#include "experiments/config/yaml.h"

#include <fstream>
#include <set>
#include <sstream>

#include "core/base/text.h"

namespace doublep {

Yaml Yaml::load(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  if (!in || !(text << in.rdbuf()))
    fail_input(path, ": cannot be read (missing, empty or a folder); check the path");
  return parse(text.str(), path);
}

Yaml Yaml::parse(const std::string& text, const std::string& name) {
  try {
    Yaml root(YAML::Load(text), name, "");
    root.refuse_duplicates();
    return root;
  } catch (const YAML::Exception& e) {
    fail_input(name, ":", e.mark.line + 1, ":", e.mark.column + 1, ": not YAML: ", e.msg);
  }
}

void Yaml::fail(const std::string& message) const {
  const YAML::Mark mark = node_.Mark();
  const std::string place =
      mark.is_null() ? file_ : concat(file_, ":", mark.line + 1, ":", mark.column + 1);
  throw InputError(concat(place, ": ", path_.empty() ? "" : path_ + ": ", message));
}

void Yaml::refuse_duplicates() const {
  if (is_list())
    for (std::size_t i = 0; i < node_.size(); ++i)
      Yaml(node_[i], file_, concat(path_, "[", i, "]")).refuse_duplicates();
  if (!is_map()) return;
  std::set<std::string> seen;
  for (const auto& pair : node_) {
    const Yaml key(pair.first, file_, path_);
    if (!pair.first.IsScalar()) key.fail("a key must be a plain word");
    if (!seen.insert(pair.first.Scalar()).second)
      key.fail("duplicate key '" + pair.first.Scalar() + "'; remove one of them");
    Yaml(pair.second, file_, concat(path_, path_.empty() ? "" : ".", pair.first.Scalar()))
        .refuse_duplicates();
  }
}

const Yaml& Yaml::only(std::initializer_list<std::string_view> keys) const {
  if (!is_map()) fail("expected a map of keys");
  for (const auto& pair : node_) {
    bool known = false;
    std::string all;
    for (auto key : keys) {
      known |= pair.first.Scalar() == key;
      all += concat(all.empty() ? "" : ", ", key);
    }
    if (!known)
      Yaml(pair.first, file_, path_)
          .fail("unknown key '" + pair.first.Scalar() + "'; known are " + all);
  }
  return *this;
}

bool Yaml::has(std::string_view key) const {
  return is_map() && static_cast<bool>(node_[std::string(key)]);
}

Yaml Yaml::at(std::string_view key) const {
  if (!is_map()) fail("expected a map of keys");
  const YAML::Node child = node_[std::string(key)];
  if (!child) fail(concat("key '", key, "' is missing"));
  return {child, file_, concat(path_, path_.empty() ? "" : ".", key)};
}

std::vector<Yaml> Yaml::items() const {
  if (!is_list()) fail("expected a list");
  if (node_.size() == 0) fail("the list is empty; name at least one");
  std::vector<Yaml> out;
  for (std::size_t i = 0; i < node_.size(); ++i)
    out.push_back(Yaml(node_[i], file_, concat(path_, "[", i, "]")));
  return out;
}

std::vector<std::string> Yaml::keys() const {
  if (!is_map()) fail("expected a map of keys");
  std::vector<std::string> out;
  for (const auto& pair : node_) out.push_back(pair.first.Scalar());
  return out;
}

ParamValue guess_value(const std::string& text) {
  if (text == "true") return true;
  if (text == "false") return false;
  if (const auto whole = parse_integer(text)) return *whole;
  if (const auto number = parse_real(text)) return *number;
  return text;
}

ParamValue Yaml::value() const {
  if (!is_scalar()) fail("expected a single value");
  if (node_.Tag() == "!") return node_.Scalar();  // quoted
  return guess_value(node_.Scalar());
}

std::string Yaml::text() const {
  if (!is_scalar()) fail("expected text");
  return node_.Scalar();
}

std::int64_t Yaml::integer(double low, double high) const {
  const ParamValue v = value();
  const auto* whole = std::get_if<std::int64_t>(&v);
  if (!whole) fail("expected an integer, not '" + to_text(v) + "'");
  const double x = static_cast<double>(*whole);
  if (x < low || x > high)
    fail(high < kNoLimit ? concat("expected an integer in [", low, ", ", high, "], not ", *whole)
                         : concat("expected an integer of at least ", low, ", not ", *whole));
  return *whole;
}

double Yaml::real(double low, double high) const {
  const ParamValue v = value();
  double x;
  if (auto* whole = std::get_if<std::int64_t>(&v))
    x = static_cast<double>(*whole);
  else if (auto* number = std::get_if<double>(&v))
    x = *number;
  else
    fail("expected a number, not '" + to_text(v) + "'");
  if (!(x >= low && x <= high))
    fail(high < kNoLimit ? concat("expected a number in [", low, ", ", high, "], not ", x)
                         : concat("expected a number of at least ", low, ", not ", x));
  return x;
}

bool Yaml::flag() const {
  const ParamValue v = value();
  if (!std::holds_alternative<bool>(v)) fail("expected true or false, not '" + to_text(v) + "'");
  return std::get<bool>(v);
}

std::string Yaml::text(std::string_view key, const std::string& fallback) const {
  return has(key) ? at(key).text() : fallback;
}
std::int64_t Yaml::integer(std::string_view key, std::int64_t fallback, double low,
                           double high) const {
  return has(key) ? at(key).integer(low, high) : fallback;
}
double Yaml::real(std::string_view key, double fallback, double low, double high) const {
  return has(key) ? at(key).real(low, high) : fallback;
}
bool Yaml::flag(std::string_view key, bool fallback) const {
  return has(key) ? at(key).flag() : fallback;
}

void Yaml::assign(const std::string& dotted, const std::string& value) {
  const Yaml parsed = parse(value, "--set " + dotted);
  YAML::Node node = node_;
  std::stringstream path(dotted);
  std::vector<std::string> steps;
  for (std::string step; std::getline(path, step, '.');) steps.push_back(step);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].empty() || (node.IsDefined() && !node.IsMap() && !node.IsNull()))
      fail_input("--set ", dotted, ": no such place in ", file_,
                 "; write key=value or key.key=value");
    if (i + 1 == steps.size())
      node[steps[i]] = parsed.node_;
    else
      node.reset(node[steps[i]]);
  }
}

}  // namespace doublep
