#include "sim/decode/crossover.h"

#include <algorithm>
#include <cmath>

namespace doublep::sim {
namespace {

constexpr double kPerOctave = 8;

// The last of [low, high] for which `holds`, which does at low and not at high.
template <class F>
std::int64_t last_of(std::int64_t low, std::int64_t high, const F& holds) {
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (holds(middle) ? low : high) = middle;
  }
  return low;
}

}  // namespace

std::int64_t first_lasting(const std::function<bool(std::int64_t)>& beats, std::int64_t from,
                           std::int64_t to) {
  if (!beats(to)) return 0;
  std::int64_t won = to;
  for (int place = 1; won > from; ++place) {
    const double next = std::floor(static_cast<double>(to) * std::exp2(-place / kPerOctave));
    const std::int64_t lost = std::max(from, std::min(won - 1, static_cast<std::int64_t>(next)));
    if (!beats(lost)) return last_of(lost, won, [&](std::int64_t c) { return !beats(c); }) + 1;
    won = lost;
  }
  return from;
}

Crossover crossover(const Model& model, const Machine& machine, const Workload& policy,
                    const Workload& dense, DecodePoint point, std::int64_t from, std::int64_t to,
                    const Coverage& coverage) {
  const auto at = [&](std::int64_t context) {
    point.context = context;
    return point;
  };
  const auto fits = [&](std::int64_t context) {
    return memory_use(model, policy, at(context)).total() <=
           point.memory_share * machine.hardware.memory_capacity.value;
  };
  Crossover found;
  found.context = first_lasting(
      [&](std::int64_t context) {
        return decode_step(model, machine, policy, at(context)).seconds <
               decode_step(model, machine, dense, at(context)).seconds;
      },
      from, to);
  if (fits(from)) found.largest = fits(to) ? to : last_of(from, to, fits);
  found.extrapolated =
      extrapolations(model, policy, at(found.context > 0 ? found.context : to), coverage);
  return found;
}

AnswerCost answer_cost(const Model& model, const Machine& machine, const Workload& workload,
                       const DecodePoint& point, double tokens, const Coverage& coverage) {
  AnswerCost cost;
  cost.prefill = prefill_seconds(model, machine, point.context, point.tensor_parallel);
  cost.build = build_seconds(model, machine, workload, point.context, point.tensor_parallel);
  const auto after = [&](double produced) {
    DecodePoint now = point;
    now.context += std::llround(produced);
    return decode_step(model, machine, workload, now, coverage);
  };
  const DecodeCost first = after(0), last = after(tokens);
  cost.steps = tokens * (first.seconds + 4 * after(tokens / 2).seconds + last.seconds) / 6;
  cost.seconds = cost.prefill + cost.build + cost.steps / point.batch;
  cost.fits = last.fits;
  cost.extrapolated = first.extrapolated | last.extrapolated;
  return cost;
}

}  // namespace doublep::sim
