// Typed parameters of policies: declared once, checked once, listed by `doublep policies`.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/error.h"

namespace doublep {

using ParamValue = std::variant<bool, std::int64_t, double, std::string>;
/// As YAML and JSON would write it (strings unquoted).
std::string to_text(const ParamValue& value);

/// A parameter that is unknown, missing, of another type or out of range. `parameter` lets the
/// configuration's reader add file, line and column.
class ParameterError : public InputError {
 public:
  ParameterError(std::string name, const std::string& message)
      : InputError(message), parameter(std::move(name)) {}
  std::string parameter;
};

struct ParamSpec {
  enum class Type { kFlag, kInteger, kReal, kChoice };
  std::string name;
  Type type;
  std::optional<ParamValue> fallback;  ///< none: the parameter is required
  std::string meaning;                 ///< one line, for people
  double low = 0, high = 0;            ///< inclusive bounds of numbers
  bool low_open = false;               ///< low itself is excluded
  std::vector<std::string> choices{};
  /// A share of something: always, or where its value is below 1 (from 1 on it is a number).
  enum class Share { kNone, kAlways, kBelowOne } share = Share::kNone;

  std::string type_name() const;   ///< "integer", "real", "flag", "choice"
  std::string range_text() const;  ///< "in (0, 1]", "at least 0", "jensen | second_order", ...
};

inline constexpr double kNoLimit = 1e18;
ParamSpec flag(std::string name, bool fallback, std::string meaning);
ParamSpec integer(std::string name, std::int64_t fallback, std::string meaning, double low = 0,
                  double high = kNoLimit);
ParamSpec real(std::string name, double fallback, std::string meaning, double low = 0,
               double high = kNoLimit);
/// A share: real in (0, 1], or in [0, 1] where it may be empty.
ParamSpec share(std::string name, double fallback, std::string meaning, bool may_be_empty = false);
/// A number of tokens or clusters; below 1 a share of those that there are.
ParamSpec budget(std::string name, double fallback, std::string meaning);
ParamSpec choice(std::string name, std::string fallback, std::vector<std::string> choices,
                 std::string meaning);

using ParamSpecs = std::vector<ParamSpec>;
/// Lists one after the other; a duplicate name is a broken invariant.
ParamSpecs join(std::initializer_list<ParamSpecs> lists);

/// A full set of parameters: every declared one has a value of its type within its range.
class Parameters {
 public:
  /// Checks `given` against `specs` and fills in the defaults. Throws ParameterError.
  Parameters(std::string owner, const ParamSpecs& specs,
             const std::map<std::string, ParamValue>& given);

  bool flag(std::string_view name) const;
  std::int64_t integer(std::string_view name) const;
  double real(std::string_view name) const;
  const std::string& choice(std::string_view name) const;
  bool has(std::string_view name) const { return values_.count(std::string(name)) > 0; }

  const std::string& owner() const { return owner_; }
  const std::map<std::string, ParamValue>& values() const { return values_; }
  /// JSON object, keys sorted: canonical, so that it can be hashed.
  std::string to_json() const;

 private:
  const ParamValue& at(std::string_view name) const;
  std::string owner_;
  std::map<std::string, ParamValue> values_;
};

}  // namespace doublep
