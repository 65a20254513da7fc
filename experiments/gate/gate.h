// The regression gate: a result against a baseline, which is what a sweep gave when it was last
// looked at, condensed to one number per metric, layer and head. Kept as YAML, so that a review
// shows what moved.
#pragma once

#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "experiments/results/result_reader.h"

namespace doublep {

struct Tolerance {
  double absolute = 0, relative = 0;
  bool exact = false;  ///< an integer that must not move
  /// Which way is worse; a move the other way is reported and passes.
  enum class Worse { kEither, kHigher, kLower } worse = Worse::kEither;
};

/// Metric of a (layer, head): sum over steps for integers, mean for reals.
using MetricValues = std::map<std::string, double>;

struct BaselineRun {
  std::string policy, label, parameters, trace_hash, trace_name;
  std::map<std::pair<int, int>, MetricValues> heads;  ///< by (layer, head)
};

struct Baseline {
  std::string path, config, config_hash, commit, created;
  std::map<std::string, Tolerance> tolerances;
  std::map<std::string, BaselineRun> runs;  ///< by run key

  static Baseline of(const ResultFile& result);
  static Baseline load(const std::string& path);
  /// Replaces the file atomically.
  void save(const std::string& path) const;
};

/// Names of the metrics in the order of tables, with the tolerance each has unless a file says
/// else.
const std::vector<std::pair<std::string, Tolerance>>& gate_metrics();

struct Move {
  std::string trace, label, metric;
  int layer = 0, head = 0;
  double before = 0, after = 0;
  bool fails = false;  ///< beyond tolerance, in a direction that counts
};

struct Comparison {
  /// Why the two cannot be compared (another trace, configuration, missing runs); empty: they can.
  std::vector<std::string> obstacles;
  /// Every value beyond its tolerance, by trace, policy, layer and head.
  std::vector<Move> moves;
  std::size_t compared = 0;

  /// 0 same, 1 regression, 2 cannot compare.
  int exit_code() const;
};

Comparison compare(const Baseline& now, const Baseline& baseline);
/// The table of what moved, at most `limit` lines of it, and a closing line.
void print(const Comparison& comparison, std::size_t limit, std::ostream& out);

}  // namespace doublep
