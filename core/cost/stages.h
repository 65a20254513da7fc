// What a step read and computed, by stage. Counted from what the policy really touched, not from a
// formula of its parameters.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace doublep {

enum class Stage { kIndex, kEstimate, kSelect, kAttend };
inline constexpr int kNumStages = 4;
inline constexpr std::array<std::string_view, kNumStages> kStageNames = {"index", "estimate",
                                                                         "select", "attend"};

struct Work {
  double bytes = 0;  ///< bytes read
  double flops = 0;  ///< floating-point operations; an exponential counts as one

  Work& operator+=(const Work& other) {
    bytes += other.bytes, flops += other.flops;
    return *this;
  }
};

struct StepCost {
  std::array<Work, kNumStages> stages{};
  Work& operator[](Stage stage) { return stages[static_cast<int>(stage)]; }
  const Work& operator[](Stage stage) const { return stages[static_cast<int>(stage)]; }
};

/// What an index holds and what building it took (summed over KV heads of a layer).
struct IndexCost {
  double memory_bytes = 0;
  Work build;
};

/// Data type in which the cache and the index's vectors are kept on the machine whose cost is
/// counted. The reference computes in float32 whatever this says, with kFp8 on what E4M3 leaves of
/// the cached tokens (core/cache/packed_head.h).
enum class KvDtype { kFp32, kFp16, kBf16, kFp8 };
/// Throws InputError for a name that is not fp32, fp16, bf16 or fp8.
KvDtype parse_kv_dtype(std::string_view name);
std::string_view name_of(KvDtype dtype);
int bytes_of(KvDtype dtype);
/// Of what an index holds, and of tokens in no block: as the cache, but 16 bits beside fp8.
KvDtype plain_dtype(KvDtype dtype);

/// With kFp8: tokens that are read with one pair of scales, a key's and a value's, 4 bytes each.
inline constexpr std::int64_t kPackedPiece = 16;

}  // namespace doublep

// What the stages of a step and the build of an index read and compute: one function each, called
// by the policies, by the CUDA backend and by the benchmarks. Bytes are of one KV head, for its
// whole group of query heads, unless they say "a head"; FLOPs are of one query head. Keys have
// head_dim and values value_dim elements of the cache's type; masses and sizes are 4 bytes.
namespace doublep::cost {

/// Estimate: logits of so many keys, and their exponentials.
Work weigh_keys(double keys, int head_dim, KvDtype dtype);
/// Estimate: every centroid and size.
Work weigh_clusters(double clusters, int head_dim, KvDtype dtype);
/// Estimate, beside weigh_clusters(): a variance each; or one per dimension, and a radius.
Work correct_by_variance(double clusters);
Work correct_by_dimension(double clusters, int head_dim, KvDtype dtype);
/// The same from the shape that all clusters share: a variance each, and a matrix a KV head.
Work correct_by_shape(double clusters, int head_dim, KvDtype dtype);
/// Estimate, beside it: what terms would miss, from the mass of `zone` exact keys; with the output
/// itself, from the zone's values and every mean value.
Work term_errors(double clusters, double zone, int head_dim, KvDtype dtype);
Work term_values(double clusters, double zone, int value_dim, KvDtype dtype);
/// Estimate: lower and upper extremes of every page.
Work bound_pages(double pages, int head_dim, KvDtype dtype);
/// Estimate: bytes of one quantised key, packed, with minimum and step as two 16-bit numbers; and
/// FLOPs of weighing `keys` of them, two an element to widen it.
double quantised_key_bytes(int head_dim, int bits);
double weigh_quantised_flops(double keys, int head_dim);

/// Select, bytes a head: an order of its masses by comparison.
Work order(double items);
/// Select, bytes a head: a fixed number of the largest.
Work pick(double items);
/// Select, bytes a head: one order of the group's summed probabilities.
Work order_of_group(double items, double heads);

/// Attend: keys and values of `tokens`, mean values of `terms`; where terms are shifted, a variance
/// each and the KV head's value map. Of the union over the group.
double attend_bytes(double tokens, double terms, bool shifted, int head_dim, int value_dim,
                    KvDtype dtype);
/// Attend, beside it, with kFp8: what `plain` of the tokens take that are kept in 16 bits, and so
/// many pairs of scales.
double packed_bytes(double plain, double pieces, int head_dim, int value_dim);
/// Attend: of a head that has so many.
double attend_flops(double tokens, double terms, bool shifted, int head_dim, int value_dim);

/// Build: one pass of k-means, which assigns every point and moves the centroids; or an assignment
/// alone. Points and centroids are float32.
Work kmeans_pass(double points, double clusters, int head_dim);
Work assignment(double points, double clusters, int head_dim);
/// Build: a pass over keys and values for the map that moves values.
Work value_map(double points, int head_dim, int value_dim);
/// Build: a pass over keys for the covariance that their clusters share; every key times a matrix.
Work key_shape(double points, int head_dim);
/// Build: what so many of the prompt's queries, of `heads` heads each, would have missed: their
/// logits and outputs cluster by cluster, the estimates, and an order. Keys, values and index are
/// read once for all of them.
Work learn_factors(double queries, double heads, double tokens, double clusters, int head_dim,
                   int value_dim, KvDtype dtype);
/// Build, beside it: what the same queries would have missed in so many `ways`, with `attended`
/// exact tokens in all of them together; single ones by `weighed` keys in a few bits, of which
/// `ordered` in all were ordered. All of it is read for learn_factors() already.
Work compare_head_kinds(double queries, double heads, double attended, double ways, double weighed,
                        double ordered, double clusters, int head_dim, int value_dim);
/// Build: what an index that ends earlier holds of its clusters, anew: means and spreads of keys
/// and values.
Work cluster_means(double points, int head_dim, int value_dim, KvDtype dtype);
Work change_metric(double points, int head_dim);
/// Build: extremes of the pages that `tokens` join; the same tokens in a few bits.
Work page_extremes(double tokens, int head_dim, KvDtype dtype);
Work quantise(double tokens, int head_dim, KvDtype dtype);
/// Bytes held: two vectors, a size, a variance and an offset a cluster, and the order of `tokens`.
double cluster_memory(double clusters, double tokens, int head_dim, int value_dim, KvDtype dtype);
double page_memory(double pages, int head_dim, KvDtype dtype);

}  // namespace doublep::cost
