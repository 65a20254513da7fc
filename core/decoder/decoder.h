// The one interface: a policy over one layer's KV cache, on one backend.
#pragma once

#include <memory>
#include <vector>

#include "core/cache/kv_cache.h"
#include "core/cost/stages.h"
#include "core/selection/selection.h"

namespace doublep {

/// What a step reports: its output; how much it read and what that cost too; or what it selected,
/// as well. On a GPU each takes more time than the one before.
enum class Detail { kOutput, kCounts, kSelections };

/// What one query head read in a step.
struct ReadCounts {
  std::int64_t tokens = 0;  ///< attended exactly
  std::int64_t terms = 0;   ///< clusters entered as one term
};

struct StepResult {
  std::vector<float> output;          ///< [num_query_heads, value_dim]
  std::vector<double> log_sum_exp;    ///< [num_query_heads], log of the denominator
  std::vector<StepCost> cost;         ///< [num_query_heads]; shared reads split evenly over a group
  std::vector<ReadCounts> counts;     ///< [num_query_heads], or empty with Detail::kOutput
  std::vector<Selection> selections;  ///< [num_query_heads] with Detail::kSelections, else empty
  std::vector<MassAudit> audits;      ///< [num_query_heads], or empty where the policy has none
};

class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Builds the index over the visible tokens; it may learn from the view's prefill_queries. Called
  /// once, before any step. The memory behind the view must outlive the decoder or the next append.
  virtual void prefill(const KvCacheView& cache) = 0;
  /// Generated tokens joined: the same cache with a larger length.
  virtual void append(const KvCacheView& grown) = 0;
  /// One decode step over the visible tokens.
  virtual StepResult step(const QueryBlock& queries, Detail detail) = 0;
  /// Memory of the index now, and the work of every build so far.
  virtual IndexCost index_cost() const = 0;
};

}  // namespace doublep
