// The tokens that stay exact whatever the policy thinks of them: attention sinks and the window.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/base/parameters.h"

namespace doublep {

/// Tokens [0, sink_end) and [tail_begin, length); sink_end <= tail_begin.
struct ExactZone {
  std::int64_t sink_end = 0, tail_begin = 0, length = 0;

  /// The first `sink` and the last `window` of `length` tokens; everything where they overlap.
  static ExactZone of(std::int64_t sink, std::int64_t window, std::int64_t length) {
    const std::int64_t sink_end = std::min(sink, length);
    return {sink_end, std::max(sink_end, length - window), length};
  }
  /// The same cut to a budget: sinks first, then the latest tokens. A budget below sink + window is
  /// legal and means what it says.
  static ExactZone of(std::int64_t sink, std::int64_t window, std::int64_t length,
                      std::int64_t budget) {
    const std::int64_t kept_sink = std::min({sink, length, budget});
    return of(kept_sink, std::min(window, budget - kept_sink), length);
  }
  std::int64_t size() const { return sink_end + (length - tail_begin); }
  bool contains(std::int64_t token) const { return token < sink_end || token >= tail_begin; }
  /// Calls visit(token) for every token of the zone, ascending.
  template <class Visit>
  void for_each(Visit visit) const {
    for (std::int64_t j = 0; j < sink_end; ++j) visit(static_cast<std::int32_t>(j));
    for (std::int64_t j = tail_begin; j < length; ++j) visit(static_cast<std::int32_t>(j));
  }
};

/// The parameters `sink` and `window` with their usual defaults (StreamingLLM, arXiv 2309.17453).
inline ParamSpecs exact_zone_params(std::int64_t sink = 4, std::int64_t window = 64) {
  return {integer("sink", sink, "first tokens that are always attended exactly"),
          integer("window", window, "last tokens that are always attended exactly")};
}

/// A budget below 1 is a share of the visible tokens, from 1 on a number of tokens.
inline std::int64_t budget_tokens(double budget, std::int64_t visible) {
  // A hair more: 0.29 of 100 is 28.999... in float64.
  const double tokens = budget < 1 ? budget * static_cast<double>(visible) + 1e-9 : budget;
  return std::min(visible, static_cast<std::int64_t>(std::min(tokens, 9e15)));
}

}  // namespace doublep
