// From which context on a policy's step is faster than dense attention's.
#pragma once

#include <cstdint>
#include <functional>

#include "sim/decode/decode.h"

namespace doublep::sim {

/// The smallest context in [from, to] from which `beats` holds at every length that is looked at,
/// eight an octave and `to`, and within the last such stretch by bisection; 0: not at `to`.
std::int64_t first_lasting(const std::function<bool(std::int64_t)>& beats, std::int64_t from,
                           std::int64_t to);

struct Crossover {
  std::int64_t context = 0;   ///< tokens; 0: never within the range
  std::int64_t largest = 0;   ///< the longest context in the range that fits the device; 0: none
  unsigned extrapolated = 0;  ///< bits of Extrapolated at `context`, or where there is none at `to`
};

/// `point`: all but its context. Steps alone: what an index costs before is answer_cost()'s.
Crossover crossover(const Model& model, const Machine& machine, const Workload& policy,
                    const Workload& dense, DecodePoint point, std::int64_t from, std::int64_t to,
                    const Coverage& coverage = {});

/// What one answer takes of a device that decodes `point.batch` of them together, each after a
/// prompt of `point.context` tokens.
struct AnswerCost {
  double prefill = 0, build = 0;  ///< s of one prompt, and of the index over it
  double steps = 0;               ///< s of all steps of the batch
  double seconds = 0;             ///< prefill + build + steps / batch
  bool fits = true;               ///< with the whole answer
  unsigned extrapolated = 0;
};

/// `tokens` steps, whose contexts grow from the prompt's to prompt + tokens: their mean by
/// Simpson's rule over both ends and the middle, exact where a step's time is a cubic of the
/// context. Re-clustering is in the steps.
AnswerCost answer_cost(const Model& model, const Machine& machine, const Workload& workload,
                       const DecodePoint& point, double tokens, const Coverage& coverage = {});

}  // namespace doublep::sim
