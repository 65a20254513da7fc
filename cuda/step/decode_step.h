// One decode step of one layer for a batch: owns every buffer, enqueues one to five launches, never
// allocates nor synchronises after construction. Capture it in a graph and replay.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>
#include <vector>

#include "cuda/attend/attend.h"
#include "cuda/estimate/estimate.h"
#include "cuda/select/select.h"
#include "cuda/step/cache.h"
#include "cuda/step/item_index.h"

namespace doublep::cuda {

/// kDense: everything. kZone: sinks and tail (streaming). kItems: clusters or pages, one selection.
/// kTwilight: pages by count, then top-p over their tokens by 4-bit keys; sinks and tail stay.
enum class StepKind { kDense, kZone, kItems, kTwilight };

struct StepOptions {
  StepKind kind = StepKind::kDense;
  float scale = 1;                 ///< of every dot product
  bool pages = false;              ///< the index holds pages
  std::int64_t page_size = kTile;  ///< pages: their rows, as extend_pages() was told
  MassEstimate estimator = MassEstimate::kJensen;  ///< clusters; kPooled: the index has a key shape
  SelectRule rule = SelectRule::kMass;
  double keep = 0.95, refine = 0.70;  ///< kMass: p1, p2; without terms only `refine` counts
  GroupMode group_mode = GroupMode::kPerHead;
  bool rank_without_size = false;
  RankBy rank = RankBy::kMass;  ///< kTokens, kError
  bool votes = false;           ///< SelectParams::votes
  double share = 0;             ///< kTokens: of the visible tokens; 0: `tokens` of them
  std::int64_t tokens = 0;
  /// kError: as core's RefinementOptions has them; every head's factor comes by set_factors().
  double error = 0, tail = 0;
  bool terms = true, outside_terms = false;
  bool value_shift = false;        ///< terms move with the query; the index has a value map
  std::int64_t zone_capacity = 0;  ///< > 0: p is of the mass with sinks and tail, at most so many
  double twilight_p = 0.85;
  EstimatePath estimate_path = EstimatePath::kAny;  ///< as EstimateParams::path
  bool attend_registers = false;                    ///< as AttendParams::registers
  int attend_warps = 0, attend_blocks = 0;  ///< as AttendParams::warps and blocks; 0: a full chip
  int select_team = 0, select_threads = 0;  ///< as SelectParams::team and threads
  bool overlap = true;                      ///< programmatic dependent launch (sm_90 and later)
};

/// What a step attended, to report it and to count bytes. Host memory.
struct StepWork {
  std::vector<Run> runs;              ///< kItems, kZone
  std::vector<std::uint32_t> tokens;  ///< kTwilight: row | mask << 24
  std::vector<std::uint32_t> terms;   ///< cluster | mask << 24
  double candidates = 0;              ///< kTwilight: rows whose 4-bit keys were read
  std::vector<Run> candidate_runs;    ///< kTwilight: these rows
};

class DecodeStep {
 public:
  /// `index` may be null for kDense and kZone. Both must outlive the step.
  DecodeStep(Cache& cache, ItemIndex* index, const StepOptions& options);

  /// [pairs * group, head_dim] in the cache's type; the caller fills it.
  void* queries() { return queries_.get(); }
  const float* output() const { return output_.get(); }            ///< [pairs * group, head_dim]
  const float* log_sum_exp() const { return log_sum_exp_.get(); }  ///< [pairs * group]
  /// Of the items, [pairs * group, items]; by rank: of the terms, -infinity elsewhere.
  const float* log_masses() const { return masses_.size() > 0 ? masses_.get() : logits_.get(); }
  std::int64_t mass_stride() const { return item_capacity_; }
  /// kCount: items kept, and of these refined, for every pair of a sequence.
  void set_budget(int sequence, std::int32_t kept, std::int32_t refined);
  /// The same for one pair.
  void set_pair_budget(int pair, std::int32_t kept, std::int32_t refined);
  /// kError: what the predicted errors of a pair's heads are multiplied with, one each. Until they
  /// are told they are infinite: everything is refined that is predicted to err at all. A graph
  /// that was captured goes by those told last. Synchronous.
  void set_factors(int pair, std::span<const double> factors);

  void enqueue(cudaStream_t stream);
  /// The stages alone, for timing; each needs what the one before it left.
  void enqueue_estimate(cudaStream_t stream, bool overlap);
  void enqueue_select(cudaStream_t stream, bool overlap);
  void enqueue_attend(cudaStream_t stream, bool overlap);

  /// Downloads the work lists of the last step. Synchronous.
  StepWork work(int pair) const;

 private:
  Cache& cache_;
  ItemIndex* index_;
  StepOptions options_;
  std::int64_t item_capacity_ = 0, run_capacity_ = 0, token_capacity_ = 0;
  bool ranked() const { return by_rank(options_.rule); }

  EstimateParams estimate_;
  PooledEstimate pooled_;
  SelectParams select_, prune_;  // prune_: Twilight's top-p over tokens
  NibbleEstimateParams nibbles_;
  AttendParams attend_;
  DeviceBuffer<unsigned char> queries_;
  DeviceBuffer<float> logits_, zone_logits_, group_logits_, slot_logits_, masses_;
  DeviceBuffer<Run> runs_;
  DeviceBuffer<std::uint32_t> tokens_, terms_, slot_rows_;
  DeviceBuffer<std::int32_t> num_runs_, num_tokens_, num_terms_, num_slots_, arrived_;
  DeviceBuffer<int2> budgets_;
  DeviceBuffer<float4> head_stats_;
  DeviceBuffer<std::uint8_t> codes_, slot_codes_;
  DeviceBuffer<float> lifts_, output_, log_sum_exp_, partial_, directions_, shape_directions_,
      forms_;
};

}  // namespace doublep::cuda
