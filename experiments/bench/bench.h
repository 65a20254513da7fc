// `doublep bench`: time of a decode step per policy, context and batch on this machine's GPU.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

namespace doublep::bench {

struct BenchOptions {
  std::vector<std::string> traces;
  std::vector<std::string> policies = {
      "dense",
      "streaming",
      "quest:budget=1024",
      "quest:budget=4096",
      "quest:budget=0.25",
      "twilight:p=0.85",
      "twilight:p=0.95",
      "twilight:p=0.98",
      "retroinfer",
      "retroinfer:exact=0.05,estimated=0.2",
      "retroinfer:exact=0.1,estimated=0.2",
      "retroinfer:exact=0.2,estimated=0.2",
      "retroinfer:exact=0.3,estimated=0.2",
      "retroinfer:exact=0.5,estimated=0.2",
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
      "shifted"};
  std::vector<std::int64_t> contexts = {8192, 32768, 65536, 131072, 524288, 1048576};
  std::vector<int> batches = {1, 8, 64};
  int kv_heads = 8, repeats = 12, queries = 3;
  double noise = 0.1;      ///< of repeats of a recording, in standard deviations
  double memory_gib = 44;  ///< points whose keys and values take more are left out
  std::string json;        ///< a file to write, or empty
  bool stages = true, overlap = true;
};

/// One policy at one context and batch. Times are medians in microseconds.
struct Point {
  std::string policy;
  std::int64_t context = 0;
  int batch = 0;
  double step_us = 0, p95_us = 0, estimate_us = 0, select_us = 0, attend_us = 0;
  double build_ms = 0;       ///< index of one sequence
  double bytes = 0;          ///< that the step's selection needs read
  double ceiling_share = 0;  ///< bytes / step time over the read ceiling
  double to_dense = 0;       ///< step time of dense over this one's
  double exact_share = 0;    ///< exact tokens of a query head over the context
  double union_share = 0;    ///< of a KV head
  double terms_share = 0;    ///< union's cluster terms over clusters
  double error_mean = 0, error_median = 0, error_p95 = 0, error_max = 0;  ///< to dense, over heads
};

/// Runs everything, prints a table to `out` as it goes, writes the JSON.
std::vector<Point> run_bench(const BenchOptions& options, std::ostream& out);

}  // namespace doublep::bench
