// Log masses of clusters (or scores of pages) from their summaries, every summary read once for all
// query heads of its pair.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/common/types.h"

namespace doublep::cuda {

/// log size and variance per dimension (mean squared distance to the centroid) of a cluster.
struct ClusterMeta {
  float log_size;  ///< -infinity: no member
  float variance;
};

/// What lies on top of a centroid's logit and its log size, as core's Estimator has it: nothing;
/// variance |q|^2 scale^2 / 2; or what a cluster of covariance `variance` S adds, S the shape that
/// the KV head's clusters share. The last needs q'Sq: the launch makes S q ready, and whoever reads
/// the logits next adds the rest (correct(), or a ranked selection).
enum class MassEstimate { kJensen, kSecondOrder, kPooled };

/// How rows reach the products: straight into registers, or through a ring in shared memory by bulk
/// copies (bulk.cu; 16-bit clusters from sm_90 on, registers elsewhere). kAny: the ring where there
/// is much to read. Results are the same to the last bit.
enum class EstimatePath { kAny, kRegisters, kRing };

struct EstimateParams {
  Shape shape;
  DType dtype = DType::kBf16;
  float scale = 1;
  MassEstimate estimator = MassEstimate::kJensen;

  const void* queries = nullptr;  ///< [pairs * group, head_dim]
  const void* rows = nullptr;     ///< [pairs, capacity, head_dim]: centroids
  /// Pages instead of clusters: `rows` holds the largest key of a page per dimension, this the
  /// smallest; the score is sum_d max(q_d low_d, q_d high_d), unscaled.
  const void* lows = nullptr;
  const ClusterMeta* meta = nullptr;       ///< [pairs, capacity]; null: log size 0
  const std::int32_t* num_rows = nullptr;  ///< [pairs]
  std::int64_t capacity = 0;               ///< a multiple of 16
  bool sparse = false;  ///< pairs have far fewer rows than `capacity`: none is read on suspicion
  bool full = false;  ///< they have nearly as many: the ring need not know how many before it reads
  float* logits = nullptr;  ///< [pairs * group, capacity]; -infinity up to a multiple of 4

  /// Also the exact logits of the tokens [0, sink_end) and [tail_begin, length) where
  /// `zone_logits` is given: [pairs * group, zone_capacity], -infinity padded to zone_capacity.
  const void* keys = nullptr;  ///< [pairs, key_capacity, head_dim]
  std::int64_t key_capacity = 0;
  const std::int32_t* sink_end = nullptr;    ///< [pairs / kv_heads]
  const std::int32_t* tail_begin = nullptr;  ///< [pairs / kv_heads]
  const std::int32_t* lengths = nullptr;     ///< [pairs / kv_heads]
  float* zone_logits = nullptr;
  std::int64_t zone_capacity = 0;

  /// Also where a query moves the values of its cluster terms (core/index/value_shift.h), where
  /// `directions` is given: map q scale. Map: [pairs, head_dim, head_dim] in `dtype`, values' rows.
  const void* value_map = nullptr;
  float* directions = nullptr;  ///< [pairs * group, head_dim]
  /// The same of the shape S (kPooled): S q scale. [pairs, head_dim, head_dim] in `dtype`.
  const void* key_shape = nullptr;
  float* shape_directions = nullptr;  ///< [pairs * group, head_dim]

  EstimatePath path = EstimatePath::kAny;
  int blocks = 0;  ///< of the ring's launch; 0: one a multiprocessor
};

void estimate(const EstimateParams& params, cudaStream_t stream, bool overlap = false);

/// What kPooled leaves open: per head the variance of its logits in a cluster of unit variance,
/// scale^2 q'Sq, and with it every log mass.
struct PooledEstimate {
  DType dtype = DType::kBf16;
  float scale = 1;
  const void* queries = nullptr;      ///< [pairs * group, head_dim]
  const float* directions = nullptr;  ///< [pairs * group, head_dim]: S q scale
  float* forms = nullptr;             ///< [pairs * group]: scale^2 q'Sq, written
};
/// masses = logits and what lies on top of them, [pairs * group, capacity]; as far as `estimate`
/// with these parameters wrote logits.
void correct(const EstimateParams& params, const PooledEstimate& pooled, float* masses,
             cudaStream_t stream, bool overlap = false);

}  // namespace doublep::cuda
