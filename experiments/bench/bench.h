// `doublep bench`: time of a decode step per setting, context and batch on this machine's GPU.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "experiments/bench/subject.h"

namespace doublep::bench {

struct BenchOptions {
  std::vector<std::string> traces;
  std::vector<std::string> policies = {
      "dense",
      "dense:kv_dtype=fp8",
      "streaming",
      "quest:budget=1024",
      "quest:budget=4096",
      "quest:budget=0.25",
      "twilight:p=0.85",
      "twilight:p=0.95",
      "twilight:p=0.98",
      "retroinfer",
      "retroinfer:retrieval=0.05,estimation=0.2",
      "retroinfer:retrieval=0.1,estimation=0.2",
      "retroinfer:retrieval=0.2,estimation=0.2",
      "retroinfer:retrieval=0.3,estimation=0.2",
      "retroinfer:retrieval=0.5,estimation=0.2",
      "retroinfer:tokens_per_cluster=32",
      "retroinfer:retrieval=0.05,estimation=0.2,tokens_per_cluster=32",
      "retroinfer:retrieval=0.1,estimation=0.2,tokens_per_cluster=32",
      "retroinfer:retrieval=0.2,estimation=0.2,tokens_per_cluster=32",
      "cluster_top_p:p=0.95",
      "double_p:p1=0.95,p2=0.70",
      "double_p:p1=0.95,p2=0.70,estimator=second_order",
      "double_p:p1=0.90,p2=0.50,estimator=second_order,outside=estimate",
      "double_p:p1=0.95,p2=0.85,estimator=second_order,gqa=group_sum",
      "double_p:p1=0.95,p2=0.70,estimator=second_order,gqa=group_sum",
      "double_p:p1=0.95,p2=0.50,estimator=second_order,gqa=group_sum",
      "double_p:p1=0.90,p2=0.30,estimator=second_order,gqa=group_sum",
      "double_p:p1=0.90,p2=0.30,estimator=second_order,outside=estimate,gqa=group_sum",
      "double_p:p1=0.95,p2=0.70,estimator=second_order,gqa=group_sum,value_side=shifted",
      "double_p:p1=0.95,p2=0.50,estimator=second_order,outside=estimate,gqa=group_sum,value_side="
      "shifted",
      "double_p:p1=0.90,p2=0.30,estimator=second_order,outside=estimate,gqa=group_sum,value_side="
      "shifted",
      "double_p:p1=0.90,p2=0.15,estimator=second_order,outside=estimate,gqa=group_sum,value_side="
      "shifted",
      "double_p:variant=best,head_kinds=one,share=0.02",
      "double_p:variant=best,head_kinds=one,share=0.04",
      "double_p:variant=best,head_kinds=one,share=0.08",
      "double_p:variant=best,head_kinds=one,share=0.01,tokens_per_cluster=32",
      "double_p:variant=best,head_kinds=one,share=0.02,tokens_per_cluster=32",
      "double_p:variant=best,head_kinds=one,share=0.04,tokens_per_cluster=32",
      "double_p:variant=best,head_kinds=one,share=0.08,tokens_per_cluster=32",
      "double_p:p1=0.95,p2=0.70,kv_dtype=fp8",
      "double_p:variant=best,head_kinds=one,share=0.02,tokens_per_cluster=32,kv_dtype=fp8",
      "double_p:variant=best,head_kinds=one,share=0.04,tokens_per_cluster=32,kv_dtype=fp8",
      "double_p:variant=best,head_kinds=one,share=0.08,tokens_per_cluster=32,kv_dtype=fp8"};
  /// Of every policy that has them, as in a sweep: k-means over all of a long context at once, the
  /// registry's own default, takes longer than what is timed.
  std::vector<std::string> defaults = {"segment=8192"};
  std::vector<std::int64_t> contexts = {8192, 32768, 65536, 131072, 524288, 1048576};
  std::vector<int> batches = {1, 8, 64};
  /// Tokens of the sequences of one batch, which is timed instead of contexts and batches, and its
  /// parts: every length alone.
  std::vector<std::int64_t> mixed;
  int kv_heads = 8, repeats = 12, queries = 3;
  double noise = 0.1;      ///< of repeats of a recording, in standard deviations
  double memory_gib = 44;  ///< points whose keys and values take more are left out
  std::string json;        ///< a file to write, or empty
  bool stages = true, dry_run = false;
  bool fp8 = false;  ///< every setting that has it with kv_dtype=fp8 too
  Launch launch;
};

/// Tokens between two clusterings, where an index is made anew as they are generated: RetroInfer's.
inline constexpr double kRebuildEvery = 1024;

/// One setting at one context and batch. Times are medians in microseconds.
struct TimedPoint {
  const Setting* setting = nullptr;
  std::int64_t context = 0;
  int batch = 0;
  double step_us = 0, p95_us = 0, estimate_us = 0, select_us = 0, attend_us = 0;
  double build_ms = 0;        ///< index of one sequence
  Work build;                 ///< of the same
  double layer_build_ms = 0;  ///< index of the whole batch
  Reads reads;
  double ceiling_share = 0;  ///< bytes / step time over the read ceiling
  double to_dense = 0;       ///< step time of dense over this one's
  /// Of a step, what making the index anew every kRebuildEvery steps adds to it.
  double rebuild_share() const { return 1e3 * layer_build_ms / kRebuildEvery / step_us; }
  double error_mean = 0, error_median = 0, error_p95 = 0, error_max = 0;  ///< to dense, over heads
};

/// One setting over a batch of different lengths, `point.context` the longest of them.
struct MixedPoint {
  TimedPoint point;
  /// Sum over its lengths of the time that they take by themselves: in batches as large as this
  /// one, their sequences' share of it; and those of its sequences that have the length, alone.
  double share_us = 0, alone_us = 0;
};
/// From the same settings over the parts: of each length its `count` sequences, the step of a batch
/// of `batch` such and of those alone.
struct MixedPart {
  int count, batch;
  double batch_us, alone_us;
};
MixedPoint mixed_point(TimedPoint point, const std::vector<MixedPart>& parts);

/// Runs everything, prints a table to `out` as it goes, writes the JSON. With dry_run only says
/// what every setting stands for, which needs no device.
void run_bench(const BenchOptions& options, std::ostream& out);

}  // namespace doublep::bench
