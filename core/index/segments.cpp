#include "core/index/segments.h"

#include <algorithm>
#include <cmath>

namespace doublep {

std::int64_t segment_length(std::int64_t tokens, std::int64_t segment) {
  if (segment > 0) return segment;
  if (tokens <= kMostAtOnce) return std::max<std::int64_t>(tokens, 1);
  const std::int64_t parts = (tokens + kLongSegment - 1) / kLongSegment;
  return (tokens + parts - 1) / parts;
}

std::vector<Segment> make_segments(std::int64_t tokens, std::int64_t tokens_per_cluster,
                                   std::int64_t clusters, std::int64_t segment) {
  std::vector<Segment> segments;
  const std::int64_t length = segment_length(tokens, segment);
  std::int64_t cluster = 0;
  for (std::int64_t first = 0; first < tokens; first += length) {
    const std::int64_t points = std::min(length, tokens - first);
    const double share = static_cast<double>(points) / static_cast<double>(tokens);
    const std::int64_t wanted = clusters > 0 ? std::llround(share * static_cast<double>(clusters))
                                             : points / tokens_per_cluster;
    const std::int64_t mine = std::clamp<std::int64_t>(wanted, 1, points);
    segments.push_back({static_cast<std::int32_t>(first), static_cast<std::int32_t>(points),
                        static_cast<std::int32_t>(cluster), static_cast<std::int32_t>(mine)});
    cluster += mine;
  }
  return segments;
}

int total_clusters(const std::vector<Segment>& segments) {
  return segments.empty() ? 0 : segments.back().cluster + segments.back().clusters;
}

}  // namespace doublep
