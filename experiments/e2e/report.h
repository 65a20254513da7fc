// What a run measures, and the file it leaves: complete after every point, so that a run that is
// cut short has measured something.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/bench/subject.h"
#include "experiments/e2e/stack.h"

namespace doublep::e2e {

/// One setting at one context and batch. Errors: relative distance of an output to dense attention
/// over the same cache, over the query heads of the layers with a cache of their own.
struct StepPoint {
  bench::Setting setting;
  std::int64_t context = 0;
  int batch = 0, distinct = 0;
  double step_us = 0, p95_us = 0, without_attention_us = 0;
  bench::Reads reads = {};  ///< of one layer, mean over those with a cache of their own
  bool has_error = false;   ///< dense was measured too
  double error_mean = 0, error_p95 = 0, error_max = 0;
  double build_ms = 0;  ///< index of one sequence of one layer
  Work build = {};      ///< of the same
};

struct LeftOut {
  std::string label;  ///< empty: all
  std::int64_t context = 0;
  int batch = 0;
  std::string why;
};

struct StepReport {
  std::string device, caches;
  StackShape shape;
  double read_ceiling = 0;     ///< bytes per second
  double launch_floor_us = 0;  ///< a graph with one empty launch
  int repeats = 0;
  std::vector<Products> products;
  std::vector<Prefill> prefill;
  std::vector<StepPoint> points;
  std::vector<LeftOut> left_out;
};

/// Writes beside `path` and renames. Throws InputError where it cannot; nothing for an empty path.
void write_json(const StepReport& report, const std::string& path);

}  // namespace doublep::e2e
