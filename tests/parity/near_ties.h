// Sets that two backends chose by sums that are rounded differently.
#pragma once

#include <algorithm>
#include <set>
#include <span>

#include "core/index/cluster_index.h"
#include "tests/parity/support.h"

namespace doublep::test {

/// Logits are sums of float32 products here and float64 ones there; a log mass this close to the
/// last one taken may fall on either side.
inline constexpr double kNearTie = 2e-3;

using Set = std::vector<std::int32_t>;

inline Set refined_clusters(const Selection& s) {
  const std::set<std::int32_t> tokens(s.tokens.begin(), s.tokens.end());
  Set out;
  for (std::int64_t c = 0; c < s.index->num_clusters(); ++c)
    if (s.index->size(c) > 0 && tokens.count(s.index->members(c)[0]))
      out.push_back(static_cast<std::int32_t>(c));
  return out;
}

/// Every cluster in one set only lies within kNearTie of the smallest mass that either took, and
/// the masses of the two sets differ by no more than such a cluster, or `more` of them.
inline void check_sets(const Set& gpu, const Set& reference, std::span<const double> log_masses,
                       double more = 0) {
  double last = INFINITY, top = -INFINITY;
  for (const std::int32_t c : reference) last = std::min(last, log_masses[c]);
  for (const double m : log_masses) top = std::max(top, m);
  double difference = 0;
  std::vector<std::int32_t> only;
  std::set_symmetric_difference(gpu.begin(), gpu.end(), reference.begin(), reference.end(),
                                std::back_inserter(only));
  for (const std::int32_t c : only) {
    if (log_masses[c] - top < -30) continue;  // no mass to speak of
    INFO("cluster " << c << " log mass " << log_masses[c] << ", last taken " << last);
    CHECK(std::abs(log_masses[c] - last) < kNearTie);
    difference +=
        (std::binary_search(gpu.begin(), gpu.end(), c) ? 1 : -1) * std::exp(log_masses[c] - top);
  }
  CHECK(std::abs(difference) <= (1.5 + more) * std::exp(last - top) + 1e-6);
}

}  // namespace doublep::test
