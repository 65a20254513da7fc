// Exact attention over any work list, with cluster terms, in one launch: what every decoder ends
// in.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "cuda/common/types.h"

namespace doublep::cuda {

struct ClusterMeta;

/// kDense: every visible row. kRuns: the list `runs`. kTokens: the list `tokens`, row by row.
enum class WorkKind { kDense, kRuns, kTokens };

/// One tile of work is a run, 16 tokens, or 16 cluster terms of a list; of terms that are read in
/// order it is 32, half as many bytes each, so that tiles cost alike. All tiles of all pairs are
/// numbered through and shared out evenly over the thread blocks; a pair that spans several blocks
/// is merged by the one that finishes it last, in the order of the blocks, so the result does not
/// depend on which one that is. Two kernels: rows straight into registers (attend_kernel.cuh), and
/// for 16-bit and packed dense attention from sm_90 on, rows through shared memory by bulk copies
/// (bulk.cu).
struct AttendParams {
  Shape shape;
  WorkKind kind = WorkKind::kDense;
  DType dtype = DType::kBf16;
  float scale = 1;  ///< of every dot product

  const void* queries = nullptr;          ///< [pairs * group, head_dim]
  const void* keys = nullptr;             ///< [pairs, capacity, head_dim]
  const void* values = nullptr;           ///< [pairs, capacity, head_dim]
  PackedRows packed;                      ///< kBf16, not kTokens
  std::int64_t capacity = 0;              ///< rows per pair
  const std::int32_t* lengths = nullptr;  ///< [pairs / kv_heads]: visible rows (kDense)

  const Run* runs = nullptr;              ///< [pairs, work_capacity] (kRuns)
  const std::uint32_t* tokens = nullptr;  ///< [pairs, work_capacity] (kTokens): row | mask << 24
  std::int64_t work_capacity = 0;
  const std::int32_t* num_work = nullptr;  ///< [pairs]: runs or tokens

  /// [pairs, term_capacity]: cluster | mask << 24. Null: every cluster is a term of every head, and
  /// counts nothing where its log mass is -infinity, so that mean values are read in order.
  const std::uint32_t* terms = nullptr;
  const std::int32_t* num_terms = nullptr;  ///< [pairs]; null: no terms
  const void* mean_values = nullptr;        ///< [pairs, term_capacity, head_dim]
  const float* log_masses = nullptr;        ///< [pairs * group, term_capacity], natural log
  std::int64_t term_capacity = 0;
  /// Terms whose values move with the query (core/index/value_shift.h); null: they do not.
  const ClusterMeta* meta = nullptr;  ///< [pairs, term_capacity]: variances
  const float* directions = nullptr;  ///< [pairs * group, head_dim]
  /// Variance of a head's logits in a cluster of unit variance, which damps the shift; null:
  /// scale^2 |q|^2. [pairs * group]
  const float* forms = nullptr;

  float* output = nullptr;       ///< [pairs * group, head_dim]
  float* log_sum_exp = nullptr;  ///< [pairs * group], natural log; -infinity without mass

  bool registers = false;  ///< never the kernel with bulk copies
  int warps = 0;           ///< of a block of the other one; 0: as many as the engine likes
  int blocks = 0;          ///< of attend_blocks()
  /// attend_workspace() floats, all bits set before the first launch; left so.
  float* partial = nullptr;
  std::int32_t* arrived = nullptr;  ///< [pairs], zero before the first launch; left zero
};

/// Floats of one partial result: outputs [group, head_dim], states [group] float2, 16-byte aligned.
constexpr std::size_t attend_slot(const Shape& s) {
  return static_cast<std::size_t>(s.group) * s.head_dim + (2 * s.group + 3) / 4 * 4;
}
/// Thread blocks that fill the current device with this kernel.
int attend_blocks(const AttendParams& params);
/// Floats of `partial`, once shape, team and blocks are set.
std::size_t attend_workspace(const AttendParams& params);
void attend(const AttendParams& params, cudaStream_t stream, bool overlap = false);

}  // namespace doublep::cuda
