// How much a policy may take: a share of what there is, or a number. The two are told apart by how
// they are written, never by size: 0.25, 25% and 1.0 are shares, 1024 and 1 are numbers.
#pragma once

#include <algorithm>
#include <cstdint>

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

}  // namespace doublep
