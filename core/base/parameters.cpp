#include "core/base/parameters.h"

#include "core/base/error.h"
#include "core/base/text.h"

namespace doublep {

std::string to_text(const ParamValue& value) {
  if (auto* b = std::get_if<bool>(&value)) return *b ? "true" : "false";
  if (auto* i = std::get_if<std::int64_t>(&value)) return std::to_string(*i);
  if (auto* s = std::get_if<std::string>(&value)) return *s;
  std::string out = shortest_text(std::get<double>(value));
  if (out.find_first_of(".en") == std::string::npos) out += ".0";
  return out;
}

std::string ParamSpec::type_name() const {
  switch (type) {
    case Type::kFlag:
      return "flag";
    case Type::kInteger:
      return "integer";
    case Type::kReal:
      return "real";
    case Type::kBudget:
      return "budget";
    case Type::kChoice:
      return "choice";
  }
  return "";
}

std::string ParamSpec::range_text() const {
  if (type == Type::kFlag) return "true | false";
  if (type == Type::kChoice) {
    std::string text;
    for (const auto& c : choices) text += (text.empty() ? "" : " | ") + c;
    return text;
  }
  if (type == Type::kBudget) return "a share in [0, 1] such as 0.25 or 25%, or a number such as 64";
  if (within_head_dim) return concat("at least ", low, ", at most head_dim");
  if (high >= kNoLimit) return concat(low_open ? "above " : "at least ", low);
  return concat("in ", low_open ? "(" : "[", low, ", ", high, "]");
}

ParamSpec flag(std::string name, bool fallback, std::string meaning) {
  return {std::move(name), ParamSpec::Type::kFlag, fallback, std::move(meaning)};
}
ParamSpec integer(std::string name, std::int64_t fallback, std::string meaning, double low,
                  double high) {
  return {std::move(name), ParamSpec::Type::kInteger, fallback, std::move(meaning), low, high};
}
ParamSpec real(std::string name, double fallback, std::string meaning, double low, double high) {
  return {std::move(name), ParamSpec::Type::kReal, fallback, std::move(meaning), low, high};
}
ParamSpec share(std::string name, double fallback, std::string meaning, bool may_be_empty) {
  ParamSpec spec = real(std::move(name), fallback, std::move(meaning), 0, 1);
  spec.low_open = !may_be_empty, spec.share = true;
  return spec;
}
ParamSpec choice(std::string name, std::string fallback, std::vector<std::string> choices,
                 std::string meaning) {
  return {std::move(name),
          ParamSpec::Type::kChoice,
          std::move(fallback),
          std::move(meaning),
          0,
          0,
          false,
          false,
          std::move(choices)};
}
ParamSpec budget(std::string name, Budget fallback, std::string meaning) {
  // Not one value assigned over another: g++ 12, sanitizing, thinks of a string that was never
  // there.
  if (fallback.is_share)
    return {std::move(name), ParamSpec::Type::kBudget, fallback.value, std::move(meaning), 0, 1};
  const auto count = static_cast<std::int64_t>(fallback.value);
  return {std::move(name), ParamSpec::Type::kBudget, count, std::move(meaning), 0, 1};
}
ParamSpec within_head_dim(ParamSpec spec) {
  spec.within_head_dim = true;
  return spec;
}

ParamSpecs join(std::initializer_list<ParamSpecs> lists) {
  ParamSpecs all;
  for (const auto& list : lists)
    for (const auto& spec : list) {
      for (const auto& seen : all)
        DP_EXPECTS(seen.name != spec.name, "parameter ", spec.name, " is declared twice");
      all.push_back(spec);
    }
  return all;
}

namespace {

[[noreturn]] void fail(const std::string& owner, const ParamSpec& spec, const ParamValue& given) {
  throw ParameterError(
      spec.name, concat("policy ", owner, ": ", spec.name, " is ", to_text(given), ", expected ",
                        spec.type == ParamSpec::Type::kBudget ? "" : "a",
                        spec.type == ParamSpec::Type::kBudget    ? ""
                        : spec.type == ParamSpec::Type::kInteger ? "n integer "
                                                                 : " " + spec.type_name() + " ",
                        spec.range_text()));
}

ParamValue check(const std::string& owner, const ParamSpec& spec, ParamValue value) {
  using Type = ParamSpec::Type;
  if (spec.type == Type::kReal)
    if (auto* whole = std::get_if<std::int64_t>(&value)) value = static_cast<double>(*whole);
  const bool type_fits =
      (spec.type == Type::kFlag && std::holds_alternative<bool>(value)) ||
      (spec.type == Type::kInteger && std::holds_alternative<std::int64_t>(value)) ||
      (spec.type == Type::kReal && std::holds_alternative<double>(value)) ||
      (spec.type == Type::kBudget &&
       (std::holds_alternative<double>(value) || std::holds_alternative<std::int64_t>(value))) ||
      (spec.type == Type::kChoice && std::holds_alternative<std::string>(value));
  if (!type_fits) fail(owner, spec, value);
  if (spec.type == Type::kChoice) {
    for (const auto& c : spec.choices)
      if (c == std::get<std::string>(value)) return value;
    fail(owner, spec, value);
  }
  if (const auto* whole = std::get_if<std::int64_t>(&value)) {
    const auto x = static_cast<double>(*whole);
    const double high = spec.type == Type::kBudget ? kNoLimit : spec.high;
    if (x < spec.low || x > high || (spec.low_open && x == spec.low)) fail(owner, spec, value);
  }
  if (const auto* x = std::get_if<double>(&value))
    if (!(*x >= spec.low && *x <= spec.high) || (spec.low_open && *x == spec.low))
      fail(owner, spec, value);
  return value;
}

}  // namespace

Parameters::Parameters(std::string owner, const ParamSpecs& specs,
                       const std::map<std::string, ParamValue>& given, std::string variant)
    : owner_(std::move(owner)), variant_(std::move(variant)) {
  for (const auto& spec : specs) {
    const auto it = given.find(spec.name);
    if (it == given.end() && !spec.fallback)
      throw ParameterError(spec.name, concat("policy ", owner_, ": ", spec.name, " is required (",
                                             spec.meaning, ")"));
    values_.emplace(spec.name,
                    check(owner_, spec, it == given.end() ? *spec.fallback : it->second));
  }
  for (const auto& [name, value] : given) {
    if (values_.count(name)) continue;
    std::string known;
    for (const auto& spec : specs) known += (known.empty() ? "" : ", ") + spec.name;
    throw ParameterError(name, concat("policy ", owner_, " has no parameter '", name, "'; it has ",
                                      known.empty() ? "none" : known));
  }
}

const ParamValue& Parameters::at(std::string_view name) const {
  const auto it = values_.find(std::string(name));
  DP_EXPECTS(it != values_.end(), "policy ", owner_, " reads parameter ", name,
             ", which it did not declare");
  return it->second;
}
bool Parameters::flag(std::string_view name) const { return std::get<bool>(at(name)); }
std::int64_t Parameters::integer(std::string_view name) const {
  return std::get<std::int64_t>(at(name));
}
double Parameters::real(std::string_view name) const { return std::get<double>(at(name)); }
Budget Parameters::budget(std::string_view name) const {
  if (const auto* items = std::get_if<std::int64_t>(&at(name))) return Budget::count(*items);
  return Budget::share(std::get<double>(at(name)));
}
const std::string& Parameters::choice(std::string_view name) const {
  return std::get<std::string>(at(name));
}

std::string Parameters::to_json() const {
  std::string text = "{";
  for (const auto& [name, value] : values_) {
    const std::string plain = to_text(value);
    text += concat(text.size() > 1 ? ", " : "", json_text(name), ": ",
                   std::holds_alternative<std::string>(value) ? json_text(plain) : plain);
  }
  return text + "}";
}

}  // namespace doublep
