// The run: what attention stands beside first, then every policy at every context and batch, from
// small to large.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace doublep::e2e {

struct Options {
  std::vector<std::string> traces;
  std::vector<std::string> models;  ///< descriptions; the first whose heads the traces have
  std::vector<std::string> policies = {
      "dense",
      "dense:kv_dtype=fp8",
      "quest:budget=4096",
      "quest:budget=0.25",
      "retroinfer",
      "retroinfer:retrieval=0.2,estimation=0.2",
      "retroinfer:tokens_per_cluster=32",
      "double_p:p1=0.95,p2=0.70",
      "double_p:p1=0.95,p2=0.70,estimator=second_order,gqa=group_sum",
      "double_p:p1=0.90,p2=0.30,estimator=second_order,gqa=group_sum",
      "double_p:variant=best,head_kinds=one,share=0.02,tokens_per_cluster=32",
      "double_p:variant=best,head_kinds=one,share=0.04,tokens_per_cluster=32",
      "double_p:variant=best,head_kinds=one,share=0.04,tokens_per_cluster=32,kv_dtype=fp8"};
  std::vector<std::string> defaults = {"segment=8192"};  ///< as of `doublep bench`
  std::vector<std::int64_t> contexts = {16384, 32768, 65536, 131072};
  std::vector<int> batches = {1, 4, 8, 16};
  std::vector<int> prefill_rows = {512, 2048, 8192};
  int layers = 0;  ///< of the model; 0: as many as it has
  int distinct = 4, repeats = 10;
  double noise = 0.1;
  double memory_share = 0.85;  ///< of the free device memory that a point may take
  double max_seconds = 200;    ///< after which no point is begun
  bool check = false;          ///< compare the graph with the same launches outside of one
  bool dry_run = false;        ///< say what every setting stands for, which needs no device
  std::string json;
};

/// Prints as it goes. Throws InputError (bad options, no device, a failed check) or CudaError.
void run(const Options& options);

}  // namespace doublep::e2e
