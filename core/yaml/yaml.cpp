#include "core/yaml/yaml.h"

#include <yaml-cpp/eventhandler.h>

#include <set>
#include <sstream>

#include "core/base/file.h"
#include "core/base/text.h"

namespace doublep {
namespace {

constexpr std::size_t kMostBytes = 64 << 20;
constexpr int kDeepest = 64;                 // levels; a configuration has five
constexpr std::size_t kMostRepeats = 10000;  // nodes that aliases may add to those of the file

// "policies[2].p1", put together only where somebody asks.
std::string step_to(const std::string& path, const std::string& key) {
  return path.empty() ? key : path + "." + key;
}
std::string step_to(const std::string& path, std::size_t index) {
  return concat(path, "[", index, "]");
}

// One walk over all nodes, aliases followed, before anything else looks at them.
class Inspection {
 public:
  Inspection(std::string file, std::size_t bytes)
      : file_(std::move(file)), left_(bytes + kMostRepeats) {}  // no node is shorter than a byte

  void visit(const YAML::Node& node, int depth = 0) {
    if (depth > kDeepest)
      fail(node, concat("nested more than ", kDeepest,
                        " levels deep, or an alias that contains itself; write it flat"));
    if (left_-- == 0)
      fail(node, "its aliases unfold to far more than the file holds; write out what is needed");
    if (node.IsSequence()) {
      steps_.push_back({"", 0});
      for (const YAML::Node& item : node) visit(item, depth + 1), ++steps_.back().index;
      steps_.pop_back();
    }
    if (!node.IsMap()) return;
    std::set<std::string> seen;
    for (const auto& pair : node) {
      if (!pair.first.IsScalar()) fail(pair.first, "a key must be a plain word");
      const std::string& key = pair.first.Scalar();
      if (!seen.insert(key).second)
        fail(pair.first, "duplicate key '" + key + "'; remove one of them");
      if (key == "<<" && pair.first.Tag() != "!")  // a quoted one is a key like any other
        fail(pair.first, "merge keys (<<) are not supported; write the keys out");
      steps_.push_back({key, 0});
      visit(pair.second, depth + 1);
      steps_.pop_back();
    }
  }

 private:
  struct Step {
    std::string key;  // empty: an item of a list
    std::size_t index;
  };
  [[noreturn]] void fail(const YAML::Node& node, const std::string& message) const {
    std::string path;
    for (const Step& step : steps_) {
      path = step.key.empty() ? step_to(path, step.index) : step_to(path, step.key);
      if (path.size() > 200) {  // of an alias in itself there is no end
        path += "...";
        break;
      }
    }
    const YAML::Mark mark = node.Mark();
    fail_input(file_, ":", mark.line + 1, ":", mark.column + 1, ": ", path,
               path.empty() ? "" : ": ", message);
  }

  std::string file_;
  std::size_t left_;
  std::vector<Step> steps_;
};

// Where the second document of a text begins, if there is one. On some damaged files yaml-cpp finds
// documents without end, so that nobody may ask it for all of them.
class Documents final : public YAML::EventHandler {
 public:
  explicit Documents(const std::string& text) {
    std::istringstream in(text);
    YAML::Parser parser(in);
    while (count_ < 2 && parser.HandleNextDocument(*this)) {
    }
  }
  bool more_than_one() const { return count_ > 1; }
  const YAML::Mark& second() const { return second_; }  ///< its first node

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++count_ == 2) second_ = mark;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { node(mark); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { node(mark); }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                const std::string&) override {
    node(mark);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    node(mark);
  }
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    node(mark);
  }
  void OnMapEnd() override {}

 private:
  void node(const YAML::Mark& mark) {
    if (count_ == 2 && !found_) second_ = mark, found_ = true;
  }
  int count_ = 0;
  bool found_ = false;
  YAML::Mark second_;
};

}  // namespace

Yaml Yaml::load(const std::string& path, std::string* bytes) {
  // No pipe, though it could be read: what it names is relative to its folder, and commands may
  // look at a configuration twice.
  require_regular_file(path);
  const std::string text = read_file(path, kMostBytes);
  if (text.empty()) fail_input(path, ": is empty; check the path");
  if (text.size() > kMostBytes)
    fail_input(path, ": is longer than ", kMostBytes >> 20,
               " MiB, which no configuration is; check the path");
  if (bytes) *bytes = text;
  return parse(text, path);
}

Yaml Yaml::parse(const std::string& text, const std::string& name) {
  try {
    const Documents documents(text);
    if (documents.more_than_one())
      fail_input(name, ":", documents.second().line + 1, ":", documents.second().column + 1,
                 ": a second document begins (---); a file holds one, write two files");
    Yaml root(YAML::Load(text), name);
    Inspection(name, text.size()).visit(root.node_);
    return root;
  } catch (const YAML::Exception& e) {
    fail_input(name, ":", e.mark.line + 1, ":", e.mark.column + 1, ": not YAML: ", e.msg);
  }
}

void Yaml::fail(const std::string& message) const { fail_at(node_.Mark(), message); }

void Yaml::fail_at(const YAML::Mark& mark, const std::string& message) const {
  const std::string place = !origin_.empty() ? origin_
                            : mark.is_null()
                                ? file_
                                : concat(file_, ":", mark.line + 1, ":", mark.column + 1);
  fail_input(place, ": ", path_.empty() ? "" : path_ + ": ", message);
}

Yaml Yaml::child(YAML::Node node, const std::string& path) const {
  Yaml result = *this;
  result.path_ = path;
  for (const Override& o : *overrides_)
    if (o.node.is(node)) result.origin_ = o.origin;
  result.node_.reset(node);
  return result;
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
    if (known) continue;
    // Where --set brought the key, its value knows.
    const Yaml place = child(pair.second, path_);
    place.fail_at(pair.first.Mark(), "unknown key '" + pair.first.Scalar() + "'; known are " + all);
  }
  return *this;
}

bool Yaml::has(std::string_view key) const {
  return is_map() && static_cast<bool>(node_[std::string(key)]);
}

Yaml Yaml::at(std::string_view key) const {
  if (!is_map()) fail("expected a map of keys");
  const YAML::Node value = node_[std::string(key)];
  if (!value) fail(concat("key '", key, "' is missing"));
  return child(value, step_to(path_, std::string(key)));
}

std::vector<Yaml> Yaml::items() const {
  if (!is_list()) fail("expected a list");
  if (node_.size() == 0) fail("the list is empty; name at least one");
  std::vector<Yaml> out;
  for (std::size_t i = 0; i < node_.size(); ++i) out.push_back(child(node_[i], step_to(path_, i)));
  return out;
}

std::vector<std::string> Yaml::keys() const {
  if (!is_map()) fail("expected a map of keys");
  std::vector<std::string> out;
  for (const auto& pair : node_) out.push_back(pair.first.Scalar());
  return out;
}

std::vector<std::pair<std::string, Yaml>> Yaml::entries() const {
  if (!is_map()) fail("expected a map of keys");
  std::vector<std::pair<std::string, Yaml>> out;
  for (const auto& pair : node_) {
    const std::string& key = pair.first.Scalar();
    out.emplace_back(key, child(pair.second, step_to(path_, key)));
  }
  return out;
}

ParamValue guess_value(const std::string& text) {
  if (text == "true") return true;
  if (text == "false") return false;
  if (const auto whole = parse_integer(text)) return *whole;
  if (const auto number = parse_real(text)) return *number;
  // 25% is 0.25, to the last bit: the decimal point moves, nothing is divided.
  if (text.size() > 1 && text.back() == '%')
    if (const auto share = parse_real(text.substr(0, text.size() - 1) + "e-2")) return *share;
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

void Yaml::wrap(const std::string& key) {
  YAML::Node map(YAML::NodeType::Map);
  map[key] = YAML::Clone(node_);
  node_ = map;  // in the document too: yaml-cpp's nodes are references
}

void Yaml::assign(const std::string& dotted, const std::string& value, const std::string& origin) {
  const Yaml parsed = parse(value, origin);
  YAML::Node node = node_;
  std::stringstream path(dotted);
  std::vector<std::string> steps;
  for (std::string step; std::getline(path, step, '.');) steps.push_back(step);
  bool made = false;  // the outermost node that is new says where all of it came from
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].empty() || (node.IsDefined() && !node.IsMap() && !node.IsNull()))
      fail_input(origin, ": no such place in ", file_, "; write key=value or key.key=value");
    const bool last = i + 1 == steps.size();
    const bool there = node.IsMap() && static_cast<bool>(node[steps[i]]);
    if (last)
      node[steps[i]] = parsed.node_;
    else if (!there)
      node[steps[i]] = YAML::Node(YAML::NodeType::Map);
    if (!made && (last || !there)) overrides_->push_back({node[steps[i]], origin}), made = true;
    if (!last) node.reset(node[steps[i]]);
  }
}

}  // namespace doublep
