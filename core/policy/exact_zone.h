// The tokens that stay exact whatever the policy thinks of them: attention sinks and the window.
// Every policy that has them attends them in every step, however short the context and however
// small its budget or its share of the mass: a budget of tokens in all counts them and is raised to
// them (tokens_in_all), a budget of anything else (pages, clusters) comes beside them, and a share
// of the mass never drops them.
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

/// How many of the visible tokens a budget of tokens in all comes to: at least the zone.
inline std::int64_t tokens_in_all(const Budget& budget, const ExactZone& zone) {
  return std::max(budget.of(zone.length), zone.size());
}

}  // namespace doublep
