#include <algorithm>

#include "sim/profile/profile.h"

namespace doublep::sim {

std::vector<HitCount> count_hits(std::span<const std::vector<std::int32_t>> steps,
                                 std::int64_t tokens, std::span<const double> capacities) {
  std::vector<HitCount> counts(capacities.size());
  const std::size_t warm = steps.size() / 2;
  std::vector<std::int32_t> last_used(tokens, -1);
  std::vector<double> held(steps.size(), 0);  // tokens whose last use was step s
  for (std::size_t t = 0; t < steps.size(); ++t) {
    if (t >= warm && t > 0) {
      std::vector<double> found(t, 0);  // of this step's tokens: last used in step s
      for (std::int32_t j : steps[t])
        if (last_used[j] >= 0) ++found[last_used[j]];
      for (std::size_t c = 0; c < capacities.size(); ++c) {
        double room = capacities[c];
        for (std::size_t s = t; s-- > 0 && room > 0;) {
          if (held[s] > 0) counts[c].hits += found[s] * std::min(1.0, room / held[s]);
          room -= held[s];
        }
        counts[c].reads += static_cast<double>(steps[t].size());
      }
    }
    for (std::int32_t j : steps[t]) {
      if (last_used[j] >= 0) --held[last_used[j]];
      last_used[j] = static_cast<std::int32_t>(t);
      ++held[t];
    }
  }
  return counts;
}

double hit_rate(std::span<const HitPoint> curve, double share) {
  if (curve.empty() || share <= 0) return 0;
  if (share <= curve.front().share) return curve.front().rate * share / curve.front().share;
  for (std::size_t i = 1; i < curve.size(); ++i)
    if (share <= curve[i].share) {
      const double w = (share - curve[i - 1].share) / (curve[i].share - curve[i - 1].share);
      return curve[i - 1].rate + w * (curve[i].rate - curve[i - 1].rate);
    }
  return curve.back().rate;
}

}  // namespace doublep::sim
