// How tokens are parted before k-means, and how many clusters each part gets: one rule for the
// reference, the CUDA backend and what both charge for it. No Eigen here, .cu files read this
// header.
#pragma once

#include <cstdint>
#include <vector>

namespace doublep {

/// A run of tokens that is clustered on its own; numbers are relative to the clustered range.
struct Segment {
  std::int32_t point, points;      ///< first token and number of tokens
  std::int32_t cluster, clusters;  ///< first cluster and number of clusters, 1 to points
};

/// k-means over all of n tokens takes n^2 time at a given size of clusters. Where no segment is
/// asked for, up to so many tokens are clustered at once all the same; more are parted evenly into
/// segments of at most kLongSegment, so that the time goes by the length (core/index/NOTES.md: what
/// that costs in error).
inline constexpr std::int64_t kMostAtOnce = 65536, kLongSegment = 16384;

/// Tokens a segment: as asked for, or by the rule above where `segment` is 0. At least 1.
std::int64_t segment_length(std::int64_t tokens, std::int64_t segment);

/// The parts of `tokens` tokens, the last as long as what is left. A part has its share of
/// `clusters`, or, where that is 0, a cluster for `tokens_per_cluster` tokens; at least one.
std::vector<Segment> make_segments(std::int64_t tokens, std::int64_t tokens_per_cluster,
                                   std::int64_t clusters, std::int64_t segment);
/// Sum of the segments' clusters.
int total_clusters(const std::vector<Segment>& segments);

}  // namespace doublep
