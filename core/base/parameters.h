// Typed parameters of policies: declared once, checked once, listed by `doublep policies`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/error.h"

namespace doublep {

struct Budget {
  double value = 0;       ///< a share in [0, 1], or a whole number
  bool is_share = false;  ///< of what the parameter's meaning names: visible tokens, clusters, ...

  static constexpr Budget share(double of_all) { return {of_all, true}; }
  static constexpr Budget count(std::int64_t items) { return {static_cast<double>(items), false}; }

  /// Of `all` items: never more than there are, and a share above 0 is at least one of them.
  std::int64_t of(std::int64_t all) const {
    // A hair more: 0.29 of 100 is 28.999... in float64.
    const double items = is_share ? value * static_cast<double>(all) + 1e-9 : value;
    const auto whole = static_cast<std::int64_t>(std::min(items, static_cast<double>(all)));
    return is_share && value > 0
               ? std::clamp<std::int64_t>(whole, std::min<std::int64_t>(all, 1), all)
               : whole;
  }

  /// In pages of `page_size` tokens over `visible` ones: whole pages within the budget, at least
  /// one unless the budget is 0; with a budget of every token every page, a partial one too.
  std::int64_t pages(std::int64_t visible, std::int64_t page_size) const {
    const std::int64_t tokens = of(visible);
    if (tokens == visible) return (visible + page_size - 1) / page_size;
    return value > 0 ? std::max<std::int64_t>(tokens / page_size, 1) : 0;
  }
};

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
  enum class Type { kFlag, kInteger, kReal, kBudget, kChoice };
  std::string name;
  Type type;
  std::optional<ParamValue> fallback;  ///< none: the parameter is required
  std::string meaning;                 ///< one line, for people
  double low = 0, high = 0;            ///< inclusive bounds of numbers
  bool low_open = false;               ///< low itself is excluded
  bool within_head_dim = false;        ///< head_dim, once known, is an upper bound too
  std::vector<std::string> choices{};
  bool share = false;  ///< a share of something, never a number of it

  std::string type_name() const;   ///< "integer", "real", "budget", "flag", "choice"
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
/// A share of something or a number of it, told apart by spelling: a real (or percentage) is a
/// share in [0, 1], an integer a number. `meaning` says of what.
ParamSpec budget(std::string name, Budget fallback, std::string meaning);
/// `spec`, an integer, with head_dim as an upper bound (registry.h: check_fits).
ParamSpec within_head_dim(ParamSpec spec);
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
             const std::map<std::string, ParamValue>& given, std::string variant = {});

  bool flag(std::string_view name) const;
  std::int64_t integer(std::string_view name) const;
  double real(std::string_view name) const;
  Budget budget(std::string_view name) const;
  const std::string& choice(std::string_view name) const;
  bool has(std::string_view name) const { return values_.count(std::string(name)) > 0; }

  const std::string& owner() const { return owner_; }
  /// The name that a part of the values came under, for people; not a part of what they are.
  const std::string& variant() const { return variant_; }
  const std::map<std::string, ParamValue>& values() const { return values_; }
  /// JSON object, keys sorted: canonical, so that it can be hashed.
  std::string to_json() const;

 private:
  const ParamValue& at(std::string_view name) const;
  std::string owner_, variant_;
  std::map<std::string, ParamValue> values_;
};

}  // namespace doublep
